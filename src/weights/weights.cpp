#include "weights/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <ranges>

#include "base/meta_memory.h"
#include "eav/error.h"
#include "weights/config.h"
#include "weights/patches.h"
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

// A tensor as the bytes that the file has, which need no copy on the way there, whether they are aligned or not.
Tensor copy_to(at::Device device, const SafetensorsFile& file, const SafetensorsFile::Entry& entry) {
  auto bytes = entry;
  bytes.dtype = at::kByte;
  bytes.shape = {static_cast<int64_t>(entry.end - entry.begin)};
  return file.view(bytes, SafetensorsFile::Use::copying).to(device).view(entry.dtype).view(entry.shape);
}

}  // namespace

bool UnneededKey::matches(const std::string& key) const {
  if (pattern.ends_with('*')) return key.starts_with(pattern.substr(0, pattern.size() - 1));
  return key == pattern;
}

Checkpoint Checkpoint::open(const std::filesystem::path& dir, const std::string& stem, LoadPolicy policy) {
  Checkpoint checkpoint;
  checkpoint.dir_ = dir;
  checkpoint.policy_ = policy;
  const auto [path, sharded] = find_weight_files(dir, stem);
  checkpoint.name_ = path.string();
  if (!sharded) {
    checkpoint.files_.emplace_back(path);
    for (const auto& [key, entry] : checkpoint.files_[0].entries()) checkpoint.index_[key] = {0, entry};
    return checkpoint;
  }

  const auto files = read_index(JsonFile(path));
  check_complete(path, files);
  std::map<std::string, size_t> opened;
  for (const auto& [key, name] : files) {
    if (!opened.contains(name)) {
      checkpoint.files_.emplace_back(dir / name);
      opened[name] = checkpoint.files_.size() - 1;
    }
    const auto& entries = checkpoint.files_[opened[name]].entries();
    const auto entry = entries.find(key);
    if (entry == entries.end())
      throw Error(fmt::format("{}: has no tensor \"{}\", which {} places there", (dir / name).string(), key,
                              path.filename().string()));
    checkpoint.index_[key] = {opened[name], entry->second};
  }
  return checkpoint;
}

Checkpoint Checkpoint::open(const CheckpointSource& source, LoadPolicy policy) {
  if (!source.rename) return open(source.path, source.stem, policy);
  Checkpoint checkpoint;
  checkpoint.dir_ = source.path.parent_path();
  checkpoint.policy_ = policy;
  checkpoint.name_ = source.path.string();
  const auto& file = checkpoint.files_.emplace_back(source.path);
  for (const auto& [original, entry] : file.entries()) {
    const auto key = source.rename(original);
    if (key && !checkpoint.index_.emplace(*key, std::pair{size_t{0}, entry}).second)
      throw Error(fmt::format("{}: \"{}\" and another tensor would both be \"{}\"", checkpoint.name_, original, *key));
  }
  return checkpoint;
}

Checkpoint Checkpoint::with(const LoadPolicy& policy) const {
  auto checkpoint = *this;
  checkpoint.policy_ = policy;
  checkpoint.read_.clear();
  return checkpoint;
}

bool Checkpoint::has(const std::string& key) const { return index_.contains(key); }

const std::pair<size_t, SafetensorsFile::Entry>& Checkpoint::find(const std::string& key,
                                                                  std::span<const int64_t> shape) const {
  const auto found = index_.find(key);
  if (found == index_.end()) {
    const auto expected = shape.empty() ? "" : fmt::format(" of shape [{}]", fmt::join(shape, ", "));
    throw Error(fmt::format("{}: the tensor \"{}\"{} is missing", name_, key, expected));
  }
  const auto& [number, entry] = found->second;
  if (!at::isFloatingType(entry.dtype))
    throw Error(fmt::format("{}: the tensor \"{}\" holds {} numbers, expected floating point",
                            files_[number].path().string(), key, c10::toString(entry.dtype)));
  if (!shape.empty() && !fits(shape, entry.shape))
    throw Error(fmt::format("{}: the tensor \"{}\" has shape [{}], expected [{}]", files_[number].path().string(), key,
                            fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
  read_.insert(key);
  return found->second;
}

Tensor Checkpoint::load(const std::string& key, std::span<const int64_t> shape, std::optional<at::ScalarType> dtype,
                        const StagedTensors* staged) const {
  const auto& [number, entry] = find(key, shape);
  const auto& file = files_[number];
  const auto wanted = dtype.value_or(policy_.dtype);
  const bool converts = at::isFloatingType(entry.dtype) && entry.dtype != wanted;
  const auto type = converts ? wanted : entry.dtype;
  if (staged != nullptr)
    if (const auto found = staged->find(key); found != staged->end()) return found->second.to(type);
  if (policy_.device.is_meta()) {
    const auto planned = at::TensorOptions(at::kMeta).dtype(type);
    // Other devices hold both for a moment.
    return is_for_cpu(at::empty({0}, planned)) ? at::empty(entry.shape, planned)
                                               : at::empty(entry.shape, planned.dtype(entry.dtype)).to(type);
  }
  if (!converts && policy_.device.is_cpu()) return file.view(entry);
  const auto tensor = policy_.device.is_cpu() ? file.view(entry, SafetensorsFile::Use::copying).to(type)
                                              : copy_to(policy_.device, file, entry).to(type);
  file.forget(entry);
  return tensor;
}

Tensor Checkpoint::load_patched(const std::string& key, std::span<const int64_t> shape,
                                std::optional<at::ScalarType> dtype, const StagedTensors* staged) const {
  const auto* patches = policy_.patches ? policy_.patches->find(key) : nullptr;
  if (patches == nullptr) return load(key, shape, dtype, staged);
  auto tensor = load(key, shape, at::kFloat, staged);
  const auto& [number, entry] = find(key, shape);
  if (entry.dtype == at::kFloat) tensor = tensor.clone();  // it may lie in the file
  files_[number].forget(entry);
  for (const auto& patch : *patches) patch.add_to(tensor);
  return tensor.to(dtype.value_or(policy_.dtype));
}

Tensor Checkpoint::describe(const std::string& key, std::span<const int64_t> shape) const {
  const auto& entry = find(key, shape).second;
  return at::empty(entry.shape, at::TensorOptions(entry.dtype).device(at::kMeta));
}

void Checkpoint::forget(const std::string& prefix) const {
  each_below(prefix, [](const auto&, const SafetensorsFile& file, const auto& entry) { file.forget(entry); });
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
    if (read_.contains(key)) continue;
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

}  // namespace eav
