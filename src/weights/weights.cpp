#include "weights/weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <ranges>

#include "base/meta_memory.h"
#include "eav/error.h"
#include "weights/config.h"
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

void Checkpoint::add(const std::string& original, size_t file, const SafetensorsFile::Entry& entry,
                     const OriginalNames& rename) {
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
      rolled_[key] = begin;
    } else if (!first.is_whole()) {
      const auto bytes = (entry.end - entry.begin) / static_cast<size_t>(std::max<int64_t>(rows, 1));
      stored.end = entry.begin + bytes * static_cast<size_t>(end);
      stored.begin = entry.begin + bytes * static_cast<size_t>(begin);
      stored.shape[0] = end - begin;
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
  const auto stored = load_stored(key, shape, dtype, staged);
  const auto rolled = rolled_.find(key);
  // In a plan, rows of any order take as much memory.
  return rolled == rolled_.end() || stored.is_meta() ? stored : at::roll(stored, -rolled->second, 0);
}

Tensor Checkpoint::load_stored(const std::string& key, std::span<const int64_t> shape,
                               std::optional<at::ScalarType> dtype, const StagedTensors* staged) const {
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
