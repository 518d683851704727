#include "weights/file_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <ranges>

#include "eav/error.h"

namespace eav {

int64_t FileTable::length(const std::string& key, size_t axis) const {
  const auto fail = [&](const std::string& what) {
    return Error(fmt::format("{}: the tensor \"{}\" {}", path_.string(), key, what));
  };
  const auto found = checkpoint_.index().find(key);
  if (found == checkpoint_.index().end()) throw fail("is missing");
  const auto& shape = found->second.second.shape;
  if (axis >= shape.size()) throw fail(fmt::format("has {} dimensions, expected more", shape.size()));
  return shape[axis];
}

std::array<int64_t, 5> FileTable::kernel(const std::string& layer) const {
  const auto weight = layer + ".weight";
  const auto at = [&](size_t axis) { return length(weight, axis); };
  if (const auto found = checkpoint_.index().find(weight);
      found != checkpoint_.index().end() && found->second.second.shape.size() == 4) {
    const auto out = std::max<int64_t>(length(layer + ".bias", 0), 1);
    return {out, at(0) / out, at(1), at(2), at(3)};
  }
  return {at(0), at(1), at(2), at(3), at(4)};
}

int64_t FileTable::count(const std::string& prefix) const {
  int64_t count = 0;
  const auto& index = checkpoint_.index();
  for (auto at = index.lower_bound(prefix); at != index.end() && at->first.starts_with(prefix); ++at)
    if (const auto number = leading_number(std::string_view(at->first).substr(prefix.size())))
      count = std::max(count, number->first + 1);
  return count;
}

std::optional<std::string> FileTable::before(std::string_view known) const {
  for (const auto& key : checkpoint_.index() | std::views::keys) {
    if (!key.ends_with(known)) continue;
    const auto prefix = key.substr(0, key.size() - known.size());
    if (prefix.empty() || prefix.ends_with('.')) return prefix;
  }
  return std::nullopt;
}

OriginalNames below(std::string prefix, OriginalNames names) {
  static constexpr std::array<std::string_view, 6> kOfParts{
      "model.diffusion_model.", "diffusion_model.", "vae.",
      "first_stage_model.",     "text_encoders.",   "cond_stage_model."};
  return [prefix = std::move(prefix), names = std::move(names)](const std::string& key) -> std::vector<NamedRows> {
    if (!key.starts_with(prefix)) return {};
    if (prefix.empty() && std::ranges::any_of(kOfParts, [&](const auto part) { return key.starts_with(part); }))
      return {};
    auto rest = key.substr(prefix.size());
    return names ? names(rest) : std::vector<NamedRows>{{std::move(rest)}};
  };
}

}  // namespace eav
