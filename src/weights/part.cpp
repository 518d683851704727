#include "weights/part.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace eav {
namespace {

// As diffusers ("_class_name") or transformers ("architectures") name it.
std::string class_of(const JsonFile& config) {
  auto name = config.get<std::string>("_class_name", "");
  if (!name.empty() || !config.has("architectures")) return name;
  const auto names = config.get<std::vector<std::string>>("architectures");
  return names.empty() ? "" : names[0];
}

}  // namespace

PartFiles::PartFiles(PartSource source, PartKeys keys)
    : source_(std::move(source)),
      keys_(std::move(keys)),
      table_(std::make_shared<const Lazy<Checkpoint>>(
          [tensors = source_.tensors] { return Checkpoint::open(tensors, {}); })) {}

PartInfo describe(const PartSource& source, const Checkpoint& tensors) {
  PartInfo part{.name = source.name, .kind = class_of(source.config)};
  std::map<std::string, int64_t> parameters;
  for (const auto& [key, place] : tensors.index()) {
    const auto& entry = place.second;
    const int64_t count = entry.numel();
    parameters[entry.type_name()] += count;
    part.parameters += count;
    part.bytes += static_cast<int64_t>(entry.end - entry.begin);
  }
  part.dtypes.assign(parameters.begin(), parameters.end());
  std::stable_sort(part.dtypes.begin(), part.dtypes.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return part;
}

at::ScalarType PartFiles::stored_type() const {
  const auto part = describe();
  const auto name = part.dtypes.empty() ? "float32" : part.dtypes[0].first;
  return name == "float32" || name == "float64" ? at::kFloat : name == "float16" ? at::kHalf : at::kBFloat16;
}

void PartFiles::place(const Placement& of_all) {
  auto dtype = of_all.dtype;
  if (const auto own = of_all.of_parts.find(name()); own != of_all.of_parts.end())
    dtype = own->second;
  else if (keys_.float32)
    dtype = Dtype::float32;
  else if (of_all.by_stored)
    dtype = dtype_of_stored(stored_type());
  placement_ = dtype == of_all.dtype ? of_all : of_all.in(dtype);
  if (const auto own = of_all.quantize_of_parts.find(name()); own != of_all.quantize_of_parts.end())
    placement_.quantize = own->second;
  else if (keys_.float32)
    placement_.quantize = Quantize::none;
}

int64_t PartFiles::held_bytes() const {
  int64_t held = 0;
  auto policy = placement_.policy();
  policy.patches = patches_;
  const auto placed = tensors().with(policy);
  std::map<std::string, int64_t> streamed;  // such as "transformer_blocks.0."
  for (const auto& [key, place] : tensors().index()) {
    if (std::ranges::any_of(keys_.unneeded, [&](const UnneededKey& u) { return u.matches(key); })) continue;
    const auto prefix = std::ranges::find_if(keys_.blocks, [&](const std::string& p) { return key.starts_with(p); });
    const auto& entry = place.second;
    const bool stays = (entry.packing() && entry.shape.size() > 1) || !at::isFloatingType(entry.dtype);
    const auto otherwise = held_.find(key);
    const auto type = entry.shape.size() == 2 ? placed.matrix_type(key) : placement_.storage;
    const auto bytes = otherwise != held_.end() ? otherwise->second
                       : stays                  ? static_cast<int64_t>(entry.end - entry.begin)
                                                : entry.numel() * static_cast<int64_t>(c10::elementSize(type));
    if (placement_.offload && prefix != keys_.blocks.end())
      streamed[key.substr(0, key.find('.', prefix->size()) + 1)] += bytes;
    else
      held += bytes;
  }
  const auto largest = std::ranges::max_element(streamed, {}, [](const auto& block) { return block.second; });
  if (largest != streamed.end()) held += largest->second;
  return held;
}

void check_agree(const std::filesystem::path& model, const std::string& what, int64_t transformer,
                 const std::string& other, int64_t theirs) {
  if (transformer != theirs)
    throw Error(fmt::format("{}: the transformer takes {} {}, the {} gives {}", model.string(), transformer, what,
                            other, theirs));
}

}  // namespace eav
