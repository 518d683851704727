// One memory-mapped .safetensors file: its table of tensors, checked against the file before anything is read.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "eav/safetensors.h"

namespace eav {
using at::Tensor;

class SafetensorsFile {
 public:
  struct Entry {
    at::ScalarType dtype;
    std::vector<int64_t> shape;
    size_t begin, end;  // bytes from the start of the file
  };

  // Maps the file and reads its header. Throws eav::Error that names the file when the header is truncated, too large,
  // no JSON, or describes tensors that overlap, leave holes or lie outside the file.
  explicit SafetensorsFile(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  const std::map<std::string, Entry>& entries() const { return entries_; }
  // The free-form strings of the header's __metadata__.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // A tensor that lies in the mapped file itself and keeps the mapping alive, or a copy where the file does not align
  // it: for computing as an allocated tensor is, for `copying` its elements as one of them. Read only: never write into
  // it.
  enum class Use { computing, copying };
  Tensor view(const Entry& entry, Use use = Use::computing) const;
  // Its bytes.
  void copy(const Entry& entry, void* to) const;
  // Has the system read the pages of a tensor; returns when they are there.
  void read_ahead(const Entry& entry) const;
  // Throws eav::Error where the file has become shorter since: what lay in its last page reads as zeros.
  void check_whole() const;
  // Lets the system drop the pages of a tensor that was copied elsewhere.
  void forget(const Entry& entry) const;

 private:
  class Mapping;
  // Of the bytes begin..end-1 of the file, and what lies around them: that is read again where it is needed.
  void forget(size_t begin, size_t end) const;

  std::filesystem::path path_;
  std::shared_ptr<Mapping> mapping_;
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace eav
