#include "models/parts.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "weights/config.h"

namespace eav {
namespace {

std::string type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "float32";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    case at::kDouble:
      return "float64";
    default:
      return c10::toString(type);
  }
}

}  // namespace

Part inspect_part(const std::filesystem::path& dir, const std::string& stem) {
  return inspect_part(dir.filename().string(), JsonFile(dir / "config.json"),
                      {.path = dir, .stem = stem, .rename = {}});
}

Part inspect_part(const std::string& name, const JsonFile& config, const CheckpointSource& source) {
  Part part{.name = name, .kind = config.get<std::string>("_class_name", "")};
  if (part.kind.empty() && config.has("architectures")) {
    const auto names = config.get<std::vector<std::string>>("architectures");
    if (!names.empty()) part.kind = names[0];
  }
  std::map<std::string, int64_t> parameters;
  const auto checkpoint = Checkpoint::open(source, {});
  for (const auto& [key, place] : checkpoint.index()) {
    const auto& entry = place.second;
    const int64_t count = c10::multiply_integers(entry.shape);
    parameters[type_name(entry.dtype)] += count;
    part.parameters += count;
    part.bytes += static_cast<int64_t>(entry.end - entry.begin);
  }
  part.dtypes.assign(parameters.begin(), parameters.end());
  std::stable_sort(part.dtypes.begin(), part.dtypes.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return part;
}

int64_t held_bytes(const CheckpointSource& source, const Placement& placement, std::span<const UnneededKey> unneeded,
                   const std::vector<std::string>& blocks) {
  const auto checkpoint = Checkpoint::open(source, {});
  int64_t held = 0;
  std::map<std::string, int64_t> streamed;  // such as "transformer_blocks.0."
  for (const auto& [key, place] : checkpoint.index()) {
    if (std::ranges::any_of(unneeded, [&](const UnneededKey& u) { return u.matches(key); })) continue;
    const auto prefix = std::ranges::find_if(blocks, [&](const std::string& p) { return key.starts_with(p); });
    const auto count = c10::multiply_integers(place.second.shape);
    if (placement.offload && prefix != blocks.end())
      streamed[key.substr(0, key.find('.', prefix->size()) + 1)] += count;
    else
      held += count;
  }
  const auto largest = std::ranges::max_element(streamed, {}, [](const auto& block) { return block.second; });
  if (largest != streamed.end()) held += largest->second;
  return held * static_cast<int64_t>(c10::elementSize(placement.storage));
}

void check_agree(const std::filesystem::path& model, const std::string& what, int64_t transformer,
                 const std::string& other, int64_t theirs) {
  if (transformer != theirs)
    throw Error(fmt::format("{}: the transformer takes {} {}, the {} gives {}", model.string(), transformer, what,
                            other, theirs));
}

at::ScalarType stored_type(const Part& part) {
  const auto name = part.dtypes.empty() ? "" : part.dtypes[0].first;
  return name == "bfloat16" ? at::kBFloat16 : name == "float16" ? at::kHalf : at::kFloat;
}

}  // namespace eav
