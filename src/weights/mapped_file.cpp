#include "weights/mapped_file.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/lfs.h"
#include "base/regular_file.h"
#include "eav/error.h"

namespace eav {

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path), data_(MAP_FAILED) {
  const RegularFile file(path);
  size_ = static_cast<size_t>(file.size());
  if (size_ == 0) throw Error(fmt::format("{}: is no file of tensors: it is empty", path.string()));
  struct stat found{};
  ::fstat(file.descriptor(), &found);
  device_ = found.st_dev;
  inode_ = found.st_ino;
  data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, file.descriptor(), 0);
  if (data_ == MAP_FAILED) throw Error(fmt::format("{}: cannot be mapped into memory", path.string()));
  try {
    refuse_lfs_pointer(path, text());
  } catch (...) {
    ::munmap(data_, size_);
    throw;
  }
}

MappedFile::~MappedFile() { ::munmap(data_, size_); }

void MappedFile::copy(size_t first, size_t last, void* to) const {
  constexpr size_t kPiece = 1 << 20;
  for (size_t begin = first, end; begin < last; begin = end) {
    end = std::min((begin / kPiece + 1) * kPiece, last);
    std::memcpy(static_cast<std::byte*>(to) + (begin - first), bytes() + begin, end - begin);
    forget(begin, end);
  }
}

void MappedFile::read_ahead(size_t begin, size_t end) const {
  constexpr size_t kPage = 4096;  // or a multiple of it
  begin = begin / kPage * kPage;
  if (::madvise(bytes() + begin, end - begin, MADV_POPULATE_READ) == 0 || errno != EINVAL) return;
  // A system before Linux 5.14.
  const volatile uint8_t* at = bytes();
  for (; begin < end; begin += kPage) static_cast<void>(at[begin]);
}

void MappedFile::forget(size_t begin, size_t end) const {
  constexpr size_t kWindow = 64 << 10;  // that the system maps around a page which is read; a multiple of its pages
  begin = begin / kWindow * kWindow, end = std::min((end + kWindow - 1) / kWindow * kWindow, size_);
  ::madvise(bytes() + begin, end - begin, MADV_DONTNEED);
}

void MappedFile::check_whole() const {
  struct stat now{};
  if (::stat(path_.c_str(), &now) == 0 && now.st_dev == device_ && now.st_ino == inode_ &&
      static_cast<size_t>(now.st_size) < size_)
    throw Error(fmt::format("{}: cannot be read any more: the file was cut short while it was in use", path_.string()));
}

}  // namespace eav
