#include "weights/original_names.h"

#include <fmt/format.h>

#include <charconv>

namespace eav {
namespace {

// The rows of a line of a table, of a tensor that is called `key`.
NamedRows rows_of(const KeyRename& line, std::string key, int64_t channels) {
  return {.key = std::move(key),
          .begin = line.begin * channels,
          .end = line.end > 0 ? std::optional(line.end * channels) : std::nullopt,
          .at = line.at * channels,
          .matrix = line.matrix};
}

}  // namespace

std::optional<std::pair<std::string, std::string_view>> split_beginning(std::string_view beginning,
                                                                        std::string_view other, std::string_view key) {
  if (!key.starts_with(beginning)) return std::nullopt;
  const auto rest = key.substr(beginning.size());
  if (beginning.empty()) return std::pair{std::string(other), rest};
  const auto block = leading_number(rest);
  if (!block || !block->second.starts_with('.')) return std::nullopt;
  return std::pair{fmt::format("{}{}.", other, block->first), block->second.substr(1)};
}

std::vector<NamedRows> find_names(const KeyTable& table, std::string_view key, int64_t channels) {
  for (const auto& group : table) {
    const auto found = split_beginning(group.original, group.ours, key);
    if (!found) continue;
    const auto& [beginning, rest] = *found;
    std::vector<NamedRows> names;
    std::string_view original;
    for (const auto& line : group.keys) {
      if (!rest.starts_with(line.original) || (!names.empty() && line.original != original)) continue;
      original = line.original;
      names.push_back(
          rows_of(line, fmt::format("{}{}{}", beginning, line.ours, rest.substr(line.original.size())), channels));
    }
    return names;
  }
  return {};
}

std::vector<NamedRows> find_original(const KeyTable& table, std::string_view key, int64_t channels) {
  for (const auto& group : table) {
    const auto found = split_beginning(group.ours, group.original, key);
    if (!found) continue;
    const auto& [beginning, rest] = *found;
    const KeyRename* best = nullptr;
    for (const auto& line : group.keys)
      if (rest.starts_with(line.ours) && (best == nullptr || line.ours.size() >= best->ours.size())) best = &line;
    std::vector<NamedRows> names;
    for (const auto& line : group.keys)
      if (best != nullptr && line.ours == best->ours && line.original == best->original)
        names.push_back(
            rows_of(line, fmt::format("{}{}{}", beginning, line.original, rest.substr(line.ours.size())), channels));
    return names;
  }
  return {};
}

std::optional<std::pair<int64_t, std::string_view>> leading_number(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return std::nullopt;
  return std::pair{number, text.substr(static_cast<size_t>(end - text.data()))};
}

}  // namespace eav
