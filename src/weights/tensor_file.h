// One memory-mapped file of named tensors, .safetensors or .gguf: its table is checked against the file before anything
// is read.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernels/packing.h"

namespace eav {
using at::Tensor;

class MappedFile;

// Where a tensor lies in a file.
struct TensorEntry {
  at::ScalarType dtype;  // of an element; kByte where blocks are packed
  std::vector<int64_t> shape;
  size_t begin, end;                   // bytes from the start of the file
  std::optional<Packing> blocks = {};  // how several elements are packed; GGUF has such tensors

  int64_t numel() const { return c10::multiply_integers(shape); }
  // How the elements are packed: in blocks, or as float8.
  std::optional<Packing> packing() const;
  // "float32", "float8_e4m3", "q4_k", …
  std::string type_name() const;
  // The rows first..first+count-1, along the first axis: blocks must not reach across rows.
  TensorEntry row_slice(int64_t first, int64_t count) const;
  // The shape of the bytes: of blocks, rows of so many; or one row, where blocks reach across rows.
  std::vector<int64_t> stored_shape() const;
};

// A value of a GGUF file's header.
using GgufValue = std::variant<int64_t, uint64_t, double, bool, std::string, std::vector<int64_t>, std::vector<double>,
                               std::vector<std::string>>;

// What the header of a file tells.
struct TensorTable {
  std::map<std::string, TensorEntry> entries = {};
  std::map<std::string, std::string> metadata = {};  // strings: the header's __metadata__, or those of a GGUF file
  std::map<std::string, GgufValue> values = {};      // all of a GGUF file's values, strings too
};

// Of a file that begins with `bytes`, all of which are at hand. Throw eav::Error that names `path` when the header is
// truncated, too large, or describes tensors that overlap, have an unknown type or lie outside the file.
TensorTable read_safetensors_table(const std::filesystem::path& path, std::string_view bytes);
TensorTable read_gguf_table(const std::filesystem::path& path, std::string_view bytes);

class TensorFile {
 public:
  using Entry = TensorEntry;

  // Maps the file and reads its header. Throws eav::Error that names the file.
  explicit TensorFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, Entry>& entries() const { return table_.entries; }
  const std::map<std::string, std::string>& metadata() const { return table_.metadata; }
  const std::map<std::string, GgufValue>& values() const { return table_.values; }

  // A tensor that lies in the mapped file itself and keeps the mapping alive, or a copy where the file does not align
  // it: for computing as an allocated tensor is, for `copying` its elements as one of them. Packed blocks are bytes, of
  // the stored shape. Read only: never write into it.
  enum class Use { computing, copying };
  Tensor view(const Entry& entry, Use use = Use::computing) const;
  // Its bytes.
  void copy(const Entry& entry, void* to) const;
  // Has the system read the pages of a tensor; returns when they are there.
  void read_ahead(const Entry& entry) const;
  // Throws eav::Error where the file has become shorter since.
  void check_whole() const;
  // Lets the system drop the pages of a tensor that was copied elsewhere.
  void forget(const Entry& entry) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<MappedFile> mapping_;
  TensorTable table_;
};

}  // namespace eav
