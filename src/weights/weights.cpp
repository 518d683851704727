#include "weights/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <ranges>

#include "base/json.h"
#include "base/meta_memory.h"
#include "eav/error.h"
#include "weights/config.h"
#include "weights/patches.h"
#include "weights/quantised_keys.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

bool fits(std::span<const int64_t> expected, const std::vector<int64_t>& found) {
  return std::equal(expected.begin(), expected.end(), found.begin(), found.end(),
                    [](int64_t want, int64_t have) { return want == -1 || want == have; });
}

// "blocks.3.proj.bias" -> "blocks.*.proj.bias"
std::string without_numbers(const std::string& key) {
  std::string text;
  for (size_t begin = 0, end = 0; begin <= key.size(); begin = end + 1) {
    end = std::min(key.find('.', begin), key.size());
    const auto part = key.substr(begin, end - begin);
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    text += (begin > 0 ? "." : "") + (number ? "*" : part);
  }
  return text;
}

// Throws where a file that an index lists is not there.
void check_complete(const std::filesystem::path& index, const std::map<std::string, std::string>& files) {
  std::set<std::string> listed, missing;
  for (const auto& name : files | std::views::values) {
    listed.insert(name);
    if (!std::filesystem::exists(index.parent_path() / name)) missing.insert(name);
  }
  if (!missing.empty())
    throw Error(fmt::format(
        "{}: is missing, as {} of the {} files are that {} lists: the download is not complete, "
        "begin it again to go on with it",
        (index.parent_path() / *missing.begin()).string(), missing.size(), listed.size(), index.filename().string()));
}

// The bytes that the file has, aligned or not.
Tensor bytes_in(const TensorFile& file, const TensorEntry& entry) {
  return file.view({at::kByte, {static_cast<int64_t>(entry.end - entry.begin)}, entry.begin, entry.end},
                   TensorFile::Use::copying);
}

// A tensor as those bytes, which need no copy on the way there.
Tensor copy_to(at::Device device, const TensorFile& file, const TensorEntry& entry) {
  return bytes_in(file, entry).to(device).view(entry.dtype).view(entry.shape);
}

// "blocks.0.proj." of "blocks.0.proj.weight"; nothing for other tensors than weights.
std::optional<std::string> layer_of(const std::string& key) {
  constexpr std::string_view kWeight = "weight";
  if (!key.ends_with(kWeight)) return std::nullopt;
  return key.substr(0, key.size() - kWeight.size());
}

// GGUF files may fold the two outer axes of a kernel into one: ggml has no more than four.
bool fits_folded(std::span<const int64_t> expected, const std::vector<int64_t>& found) {
  return expected.size() == found.size() + 1 && expected.size() > 2 &&
         std::ranges::none_of(expected, [](int64_t n) { return n < 0; }) && expected[0] * expected[1] == found[0] &&
         std::equal(expected.begin() + 2, expected.end(), found.begin() + 1);
}

}  // namespace

bool UnneededKey::matches(const std::string& key) const {
  if (pattern.ends_with('*')) return key.starts_with(pattern.substr(0, pattern.size() - 1));
  return key == pattern;
}

Checkpoint Checkpoint::open(const std::filesystem::path& dir, const std::string& stem, LoadPolicy policy) {
  return open(CheckpointSource{.path = dir, .stem = stem}, policy);
}

Checkpoint Checkpoint::open(const CheckpointSource& source, LoadPolicy policy) {
  Checkpoint checkpoint;
  checkpoint.dir_ = source.stem.empty() ? source.path.parent_path() : source.path;
  checkpoint.policy_ = policy;
  checkpoint.add(source);
  for (const auto& other : source.others) checkpoint.add(other);
  return checkpoint;
}

void Checkpoint::add(const CheckpointSource& source) {
  const auto [path, sharded] = source.stem.empty() ? WeightFiles{source.path, source.path.extension() == ".json"}
                                                   : find_weight_files(source.path, source.stem);
  if (name_.empty()) name_ = path.string();
  if (!sharded) {
    const auto number = files_.size();
    files_.emplace_back(path);
    for (const auto& [key, entry] : files_[number].entries()) add(key, number, entry, source.rename);
    return;
  }

  const auto files = read_index(JsonFile(path));
  check_complete(path, files);
  std::map<std::string, size_t> opened;
  for (const auto& [key, name] : files) {
    if (!opened.contains(name)) {
      files_.emplace_back(path.parent_path() / name);
      opened[name] = files_.size() - 1;
    }
    const auto& entries = files_[opened[name]].entries();
    const auto entry = entries.find(key);
    if (entry == entries.end())
      throw Error(fmt::format("{}: has no tensor \"{}\", which {} places there", (path.parent_path() / name).string(),
                              key, path.filename().string()));
    add(key, opened[name], entry->second, source.rename);
  }
}

void Checkpoint::add(const std::string& original, size_t file, const TensorEntry& entry, const OriginalNames& rename) {
  const auto path = [&] { return files_[file].path().string(); };
  // What belongs to all rows of a quantised weight belongs to each of its parts.
  const bool of_all_rows = c10::multiply_integers(entry.shape) == 1 || original.ends_with("comfy_quant");
  std::map<std::string, std::vector<NamedRows>> parts;
  for (auto& rows : rename ? rename(original) : std::vector{NamedRows{original}}) parts[rows.key].push_back(rows);
  for (auto& [key, pieces] : parts) {
    auto stored = entry;
    if (of_all_rows) pieces = {NamedRows{key}};
    const auto rows = entry.shape.empty() ? 1 : entry.shape[0];
    std::ranges::sort(pieces, {}, &NamedRows::at);
    const auto &first = pieces.front(), &last = pieces.back();
    const auto begin = first.begin, end = first.end.value_or(rows);
    if (begin < 0 || begin > end || end > rows || first.at != 0)
      throw Error(fmt::format("{}: the tensor \"{}\" has {} rows, expected at least {} as it holds \"{}\"", path(),
                              original, rows, end, key));
    if (pieces.size() == 2) {  // the two halves in the other order
      if (end != rows || last.begin != 0 || last.end != begin || last.at != end - begin)
        throw Error(fmt::format("{}: the tensor \"{}\" has {} rows, expected {}", path(), original, rows, end));
      order_[key].first = begin;
    } else if (!first.is_whole()) {
      stored = entry.row_slice(begin, end - begin);
    }
    if (first.heads > 0) {
      if (rows % (2 * first.heads) != 0)
        throw Error(fmt::format("{}: the tensor \"{}\" has {} rows for {} heads", path(), original, rows, first.heads));
      order_[key].heads = first.heads;
    }
    while (first.matrix && stored.shape.size() > 2 && stored.shape.back() == 1) stored.shape.pop_back();
    if (!index_.emplace(key, std::pair{file, stored}).second)
      throw Error(fmt::format("{}: \"{}\" and another tensor would both be \"{}\"", path(), original, key));
  }
}

Checkpoint Checkpoint::with(const LoadPolicy& policy) const {
  auto checkpoint = *this;
  checkpoint.policy_ = policy;
  checkpoint.read_.clear();
  checkpoint.held_.clear();
  return checkpoint;
}

bool Checkpoint::has(const std::string& key) const { return index_.contains(key); }

Checkpoint::Found Checkpoint::find(const std::string& key, std::span<const int64_t> shape) const {
  const auto found = index_.find(key);
  if (found == index_.end()) {
    const auto expected = shape.empty() ? "" : fmt::format(" of shape [{}]", fmt::join(shape, ", "));
    throw Error(fmt::format("{}: the tensor \"{}\"{} is missing", name_, key, expected));
  }
  const auto* file = &files_[found->second.first];
  auto entry = found->second.second;
  const auto layer = layer_of(key);
  const bool quantised = entry.packing() || (entry.dtype == at::kChar && layer && has(*layer + "comfy_quant"));
  if (!quantised && !at::isFloatingType(entry.dtype))
    throw Error(fmt::format("{}: the tensor \"{}\" holds {} numbers, expected floating point", file->path().string(),
                            key, c10::toString(entry.dtype)));
  if (!shape.empty() && !fits(shape, entry.shape)) {
    if (file->values().empty() || !fits_folded(shape, entry.shape))
      throw Error(fmt::format("{}: the tensor \"{}\" has shape [{}], expected [{}]", file->path().string(), key,
                              fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
    entry.shape.assign(shape.begin(), shape.end());
  }
  read_.insert(key);
  return {file, std::move(entry)};
}

Checkpoint::Scaling Checkpoint::scaling_of(const std::string& key, const Found& found) const {
  Scaling scaling{.packing = found.entry.packing()};
  const auto layer = layer_of(key);
  if (!layer || found.entry.blocks) return scaling;
  for (const auto* name : kQuantisedBy)
    if (has(*layer + name)) read_.insert(*layer + name);
  const auto beside = [&](const std::string& name) -> std::optional<std::pair<const TensorFile*, TensorEntry>> {
    const auto at = index_.find(*layer + name);
    if (at == index_.end()) return std::nullopt;
    return std::pair{&files_[at->second.first], at->second.second};
  };
  const auto fail = [&](const std::string& name, const std::string& what) {
    return Error(fmt::format("{}: \"{}{}\" {}", found.file->path().string(), *layer, name, what));
  };

  if (const auto told = beside("comfy_quant")) {
    const auto bytes = bytes_in(*told->first, told->second);
    const auto json =
        parse_json({reinterpret_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())});
    if (!json.is_object() || !json.contains("format") || !json["format"].is_string())
      throw fail("comfy_quant", "is no JSON object with a \"format\"");
    const auto format = json["format"].get<std::string>();
    const auto wanted = format == "float8_e4m3fn"     ? at::kFloat8_e4m3fn
                        : format == "float8_e5m2"     ? at::kFloat8_e5m2
                        : format == "int8_tensorwise" ? at::kChar
                                                      : at::kByte;
    if (wanted == at::kByte)
      throw fail("comfy_quant", fmt::format("has the format \"{}\", expected float8_e4m3fn, float8_e5m2 or "
                                            "int8_tensorwise",
                                            format));
    if (wanted != found.entry.dtype)
      throw fail("comfy_quant",
                 fmt::format("says {}, but the weight is stored in {}", format, found.entry.type_name()));
    if (wanted == at::kChar) {
      scaling.packing = Packing::int8;
      if (json.contains("convrot") && json["convrot"] == true) {
        const auto columns =
            found.entry.numel() / std::max<int64_t>(found.entry.shape.empty() ? 1 : found.entry.shape[0], 1);
        const auto group = json.value("convrot_groupsize", nlohmann::json(256));
        auto size = group.is_number_integer() ? group.get<int64_t>() : 0;
        const auto asked = size;
        while (size >= 4 && size % 4 == 0) size /= 4;
        if (size != 1 || asked < 4 || columns % asked != 0)
          throw fail("comfy_quant",
                     fmt::format("has a \"convrot_groupsize\" of {}, expected a power of four that divides {}",
                                 group.dump(), columns));
        scaling.rotated = asked;
      }
    }
  }

  const auto rows = found.entry.shape.empty() ? 1 : found.entry.shape[0];
  for (const auto* name : {"weight_scale", "scale_weight"})
    if (const auto scale = beside(name)) {
      const auto& [file, entry] = *scale;
      if (!at::isFloatingType(entry.dtype) || entry.packing() || (entry.numel() != 1 && entry.numel() != rows))
        throw fail(name, fmt::format("has {} elements of {}, expected one or one for each of {} rows", entry.numel(),
                                     entry.type_name(), rows));
      if (policy_.device.is_meta()) continue;
      scaling.scale = bytes_in(*file, entry).clone().view(entry.dtype).to(at::kFloat).to(policy_.device);
    }
  return scaling;
}

Tensor Checkpoint::bytes_of(const std::string& key, const Found& found, int64_t rows, const StagedTensors* staged,
                            bool described) const {
  const auto& [file, entry] = found;
  const std::vector<int64_t> shape{rows, static_cast<int64_t>(entry.end - entry.begin) / std::max<int64_t>(rows, 1)};
  if (staged != nullptr)
    if (const auto at = staged->find(key); at != staged->end()) return at->second.view(at::kByte).view(shape);
  if (described || policy_.device.is_meta()) return at::empty(shape, at::TensorOptions(at::kByte).device(at::kMeta));
  const auto bytes = bytes_in(*file, entry).view(shape);
  if (policy_.device.is_cpu()) return bytes;
  const auto there = bytes.to(policy_.device);
  file->forget(entry);
  return there;
}

std::optional<Packed> Checkpoint::load_packed(const std::string& key, std::span<const int64_t> shape,
                                              const StagedTensors* staged, bool described) const {
  const auto found = find(key, shape);
  const auto scaling = scaling_of(key, found);
  const auto& entry = found.entry;
  if (!scaling.packing || entry.shape.empty() || entry.shape[0] == 0 ||
      entry.numel() / entry.shape[0] % layout_of(*scaling.packing).elements != 0)
    return std::nullopt;
  auto scale = scaling.scale;
  if (scale && scale->numel() > 1) scale = in_order(key, *scale);
  return Packed{in_order(key, bytes_of(key, found, entry.shape[0], staged, described)), *scaling.packing, scale,
                scaling.rotated};
}

Tensor Checkpoint::in_order(const std::string& key, const Tensor& rows) const {
  const auto found = order_.find(key);
  if (found == order_.end() || rows.is_meta()) return rows;  // a plan needs no order
  const auto& [first, heads] = found->second;
  if (heads == 0) return at::roll(rows, -first, 0);
  return rows.unflatten(0, {heads, -1, 2}).transpose(1, 2).flatten(0, 2).contiguous();
}

Tensor Checkpoint::load(const std::string& key, std::span<const int64_t> shape, std::optional<at::ScalarType> dtype,
                        const StagedTensors* staged) const {
  const auto found = find(key, shape);
  const auto& [file, entry] = found;
  const auto wanted = dtype.value_or(policy_.dtype);
  if (const auto packed = load_packed(key, shape, staged)) return dequantized(*packed, wanted).view(entry.shape);
  if (entry.packing()) {
    const Packed whole{bytes_of(key, found, 1, staged, false), *entry.packing()};
    return in_order(key, dequantized(whole, wanted).view(entry.shape));
  }
  const bool converts = entry.dtype != wanted;
  if (staged != nullptr)
    if (const auto at = staged->find(key); at != staged->end()) return in_order(key, at->second.to(wanted));
  if (policy_.device.is_meta()) {
    const auto planned = at::TensorOptions(at::kMeta).dtype(wanted);
    // Other devices hold both for a moment.
    return is_for_cpu(at::empty({0}, planned)) ? at::empty(entry.shape, planned)
                                               : at::empty(entry.shape, planned.dtype(entry.dtype)).to(wanted);
  }
  if (!converts && policy_.device.is_cpu()) return in_order(key, file->view(entry));
  const auto tensor = policy_.device.is_cpu() ? file->view(entry, TensorFile::Use::copying).to(wanted)
                                              : copy_to(policy_.device, *file, entry).to(wanted);
  file->forget(entry);
  return in_order(key, tensor);
}

const std::vector<Patch>* Checkpoint::patches(const std::string& key) const {
  return policy_.patches ? policy_.patches->find(key) : nullptr;
}

at::ScalarType Checkpoint::matrix_type(const std::string& key) const {
  constexpr int64_t kLeast = 1 << 20;  // numbers
  const auto found = index_.find(key);
  if (found == index_.end() || policy_.dtype != at::kFloat || patches(key) != nullptr) return policy_.dtype;
  const auto& entry = found->second.second;
  const bool short_ones = entry.dtype == at::kBFloat16 || entry.dtype == at::kHalf;
  const auto there = at::empty({0}, at::TensorOptions(policy_.device));
  return short_ones && entry.numel() >= kLeast && is_for_cpu(there) ? entry.dtype : policy_.dtype;
}

Tensor Checkpoint::load_patched(const std::string& key, std::span<const int64_t> shape,
                                std::optional<at::ScalarType> dtype, const StagedTensors* staged) const {
  const auto* added = patches(key);
  if (added == nullptr) return load(key, shape, dtype, staged);
  auto tensor = load(key, shape, at::kFloat, staged);
  const auto found = find(key, shape);
  if (found.entry.dtype == at::kFloat) tensor = tensor.clone();  // it may lie in the file
  found.file->forget(found.entry);
  for (const auto& patch : *added) patch.add_to(tensor);
  return tensor.to(dtype.value_or(policy_.dtype));
}

Tensor Checkpoint::describe(const std::string& key, std::span<const int64_t> shape) const {
  const auto found = find(key, shape);
  scaling_of(key, found);
  const auto type = found.entry.packing() ? policy_.dtype : found.entry.dtype;
  return at::empty(found.entry.shape, at::TensorOptions(type).device(at::kMeta));
}

void Checkpoint::forget(const std::string& prefix) const {
  each_below(prefix, [](const auto&, const TensorFile& file, const auto& entry) { file.forget(entry); });
}

// Layers take a bias where the file has one. So a lost one would go unseen, but for the same layer of other blocks:
// "blocks.3.proj.bias" must be there where "blocks.0.proj.bias" is.
void Checkpoint::check_blocks_are_alike() const {
  std::map<std::string, std::string> examples;  // "blocks.*.proj.bias" -> "blocks.0.proj.bias"
  for (const auto& key : index_ | std::views::keys) examples.emplace(without_numbers(key), key);
  for (const auto& key : read_) {
    const auto layer = key.substr(0, key.rfind('.') + 1);
    for (const auto* name : {"weight", "bias"})
      if (const auto like = examples.find(without_numbers(layer + name));
          like != examples.end() && !layer.empty() && !index_.contains(layer + name))
        throw Error(fmt::format("{}: the tensor \"{}\" is missing, beside \"{}\"", name_, layer + name, like->second));
  }
}

std::string Checkpoint::check_all_read(std::span<const UnneededKey> unneeded) const {
  check_blocks_are_alike();
  std::set<std::string> read_below;  // such as "decoder."
  for (const auto& key : read_)
    if (const auto dot = key.find('.'); dot != std::string::npos) read_below.insert(key.substr(0, dot + 1));
  std::vector<std::string> unknown;
  std::string file;
  for (const auto& [key, place] : index_) {
    if (read_.contains(key) || key == kScaledMarker || key.ends_with("." + std::string(kScaledMarker))) continue;
    if (std::any_of(unneeded.begin(), unneeded.end(), [&](const auto& u) { return u.matches(key); })) continue;
    file = files_[place.first].path().string();
    if (read_below.contains(key.substr(0, key.find('.') + 1)))
      throw Error(fmt::format("{}: the tensor \"{}\" of shape [{}] belongs to no layer of this model", file, key,
                              fmt::join(place.second.shape, ", ")));
    unknown.push_back(key);
  }
  if (unknown.empty()) return "";
  constexpr size_t kNamed = 3;
  const auto count = unknown.size();
  unknown.resize(std::min(count, kNamed));
  return fmt::format("{}: {} no part of this model, and left out: {}{}", file,
                     count == 1 ? std::string("a tensor is") : fmt::format("{} tensors are", count),
                     fmt::join(unknown, ", "), count > kNamed ? ", …" : "");
}

Weights Weights::as_stored(const std::string& name) const {
  const auto at = checkpoint_->index().find(prefix_ + name);
  if (at == checkpoint_->index().end()) return *this;
  const auto& entry = at->second.second;
  return in(patches(name) != nullptr || entry.packing() || !at::isFloatingType(entry.dtype) ? at::kFloat : entry.dtype);
}

}  // namespace eav
