// What the table of a file's tensors tells of the model that they are: keys and shapes.
#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "weights/weights.h"

namespace eav {

class FileTable {
 public:
  // Of a file of tensors or an index of its shards, and of a part by its names. Throws eav::Error where it is none.
  explicit FileTable(const CheckpointSource& source) : path_(source.path), checkpoint_(Checkpoint::open(source, {})) {}
  explicit FileTable(const std::filesystem::path& path) : FileTable(CheckpointSource{.path = path}) {}

  const std::filesystem::path& path() const { return path_; }
  const Checkpoint& checkpoint() const { return checkpoint_; }
  bool has(const std::string& key) const { return checkpoint_.has(key); }
  // The length of a tensor along an axis. Throws eav::Error where it is missing.
  int64_t length(const std::string& key, size_t axis) const;
  // The shape of a kernel [out, in, T, H, W], whose two first axes files may have folded into one: its bias tells
  // `out`.
  std::array<int64_t, 5> kernel(const std::string& layer) const;
  // How many there are of "blocks.0.", "blocks.1." and so on.
  int64_t count(const std::string& prefix) const;
  // What stands before `known` in the first key that ends with it, such as "vae."; nothing where none does.
  std::optional<std::string> before(std::string_view known) const;

 private:
  std::filesystem::path path_;
  Checkpoint checkpoint_;
};

// Names of keys below a prefix: that, and then `names`. Of files without one, keys that begin as other parts' do are
// left out.
OriginalNames below(std::string prefix, OriginalNames names = {});

}  // namespace eav
