// A whole file, mapped into memory for reading.
#pragma once
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string_view>

namespace eav {

class MappedFile {
 public:
  // Throws eav::Error that names the file when it is not there, is empty, a pointer of git-lfs, or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Private and writable, so that a tensor over them is an ordinary one; nothing is ever written to the file.
  uint8_t* bytes() const { return static_cast<uint8_t*>(data_); }
  size_t size() const { return size_; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

  // Copies the bytes begin..end-1, piece by piece: the file's pages are not in memory beside the copy.
  void copy(size_t begin, size_t end, void* to) const;
  // Has the system read the pages of these bytes; returns when they are there.
  void read_ahead(size_t begin, size_t end) const;
  // Lets the system drop the pages of these bytes, and what lies around them: that is read again where it is needed.
  void forget(size_t begin, size_t end) const;
  // Throws eav::Error where the file has become shorter since: what lay in its last page reads as zeros.
  void check_whole() const;

 private:
  std::filesystem::path path_;
  void* data_;
  size_t size_ = 0;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace eav
