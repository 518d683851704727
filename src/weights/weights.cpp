#include "weights/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "eav/error.h"
#include "weights/config.h"

namespace eav {
namespace {

bool fits(std::span<const int64_t> expected, const std::vector<int64_t>& found) {
  return std::equal(expected.begin(), expected.end(), found.begin(), found.end(),
                    [](int64_t want, int64_t have) { return want == -1 || want == have; });
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
  const auto single = dir / (stem + ".safetensors"), sharded = dir / (stem + ".safetensors.index.json");

  if (std::filesystem::exists(single)) {
    checkpoint.name_ = single.string();
    checkpoint.files_.emplace_back(single);
    for (const auto& [key, entry] : checkpoint.files_[0].entries()) checkpoint.index_[key] = {0, entry};
    return checkpoint;
  }
  if (!std::filesystem::exists(sharded)) {
    std::string hint;
    if (std::filesystem::is_directory(dir))
      for (const auto& entry : std::filesystem::directory_iterator(dir))
        if (const auto suffix = entry.path().extension(); suffix == ".bin" || suffix == ".pt" || suffix == ".pth")
          hint =
              "; there are pickled weights, which must be converted first (load and save them again with their Python "
              "library)";
    throw Error(fmt::format("{}: has neither {} nor {}{}", dir.string(), single.filename().string(),
                            sharded.filename().string(), hint));
  }

  checkpoint.name_ = sharded.string();
  const JsonFile index(sharded);
  if (!index.has("weight_map") || !index.json()["weight_map"].is_object())
    throw Error(fmt::format("{}: \"weight_map\" is missing or no object", sharded.string()));
  std::map<std::string, size_t> opened;
  for (const auto& [key, file] : index.json()["weight_map"].items()) {
    if (!file.is_string()) throw Error(fmt::format("{}: the file of \"{}\" is no string", sharded.string(), key));
    const auto name = file.get<std::string>();
    if (std::filesystem::path(name).has_parent_path())
      throw Error(
          fmt::format("{}: the file of \"{}\" must lie beside the index, not at {}", sharded.string(), key, name));
    if (!opened.contains(name)) {
      checkpoint.files_.emplace_back(dir / name);
      opened[name] = checkpoint.files_.size() - 1;
    }
    const auto& entries = checkpoint.files_[opened[name]].entries();
    const auto entry = entries.find(key);
    if (entry == entries.end())
      throw Error(fmt::format("{}: has no tensor \"{}\", which {} places there", (dir / name).string(), key,
                              sharded.filename().string()));
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
  if (!shape.empty() && !fits(shape, entry.shape))
    throw Error(fmt::format("{}: the tensor \"{}\" has shape [{}], expected [{}]", files_[number].path().string(), key,
                            fmt::join(entry.shape, ", "), fmt::join(shape, ", ")));
  read_.insert(key);
  return found->second;
}

Tensor Checkpoint::load(const std::string& key, std::span<const int64_t> shape) const {
  const auto& [number, entry] = find(key, shape);
  const auto& file = files_[number];
  const bool converts = at::isFloatingType(entry.dtype) && entry.dtype != policy_.dtype;
  if (policy_.device.is_meta())
    return at::empty(entry.shape, at::TensorOptions(converts ? policy_.dtype : entry.dtype).device(at::kMeta));
  if (!converts && policy_.device.is_cpu()) return file.view(entry);
  const auto tensor =
      file.view(entry, SafetensorsFile::Use::copying).to(policy_.device, converts ? policy_.dtype : entry.dtype);
  file.forget(entry);
  return tensor;
}

Tensor Checkpoint::describe(const std::string& key, std::span<const int64_t> shape) const {
  const auto& entry = find(key, shape).second;
  return at::empty(entry.shape, at::TensorOptions(entry.dtype).device(at::kMeta));
}

void Checkpoint::forget(const std::string& prefix) const {
  for (auto it = index_.lower_bound(prefix); it != index_.end() && it->first.starts_with(prefix); ++it)
    files_[it->second.first].forget(it->second.second);
}

void Checkpoint::check_all_read(std::span<const UnneededKey> unneeded) const {
  for (const auto& [key, place] : index_) {
    if (read_.contains(key)) continue;
    if (std::any_of(unneeded.begin(), unneeded.end(), [&](const auto& u) { return u.matches(key); })) continue;
    throw Error(fmt::format("{}: the tensor \"{}\" of shape [{}] belongs to no layer of this model",
                            files_[place.first].path().string(), key, fmt::join(place.second.shape, ", ")));
  }
}

}  // namespace eav
