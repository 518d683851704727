// Files that are read. A named pipe, a device or a socket under the name of one would be waited for without end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>

namespace eav {

// A regular file, open for reading.
class RegularFile {
 public:
  // Throws eav::Error, which names it, when it is not there, is no regular file, or may not be read.
  explicit RegularFile(const std::filesystem::path& path);
  ~RegularFile();
  RegularFile(const RegularFile&) = delete;
  RegularFile& operator=(const RegularFile&) = delete;

  int descriptor() const { return descriptor_; }
  int64_t size() const { return size_; }
  // At most `count` bytes from `at` on; returns how many, 0 at the end, or -1 with errno.
  std::ptrdiff_t read(int64_t at, void* to, size_t count) const;

 private:
  int descriptor_;
  int64_t size_ = 0;
};

// All bytes of a regular file. Throws eav::Error as RegularFile does.
std::string read_file(const std::filesystem::path& path);

}  // namespace eav
