#include "base/regular_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "eav/error.h"

namespace eav {
namespace {

Error unreadable(const std::filesystem::path& path, int code) {
  return Error(fmt::format("'{}' cannot be read: {}", path.string(),
                           code == ENOENT ? "there is no such file" : std::generic_category().message(code)));
}

}  // namespace

RegularFile::RegularFile(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)) {  // not waiting for a writer
  if (descriptor_ < 0 && errno != ENXIO) throw unreadable(path, errno);                  // ENXIO: a socket
  struct stat status {};
  if (descriptor_ >= 0 && ::fstat(descriptor_, &status) == 0 && S_ISREG(status.st_mode)) {
    size_ = status.st_size;
    return;
  }
  if (descriptor_ >= 0) ::close(descriptor_);
  throw Error(S_ISDIR(status.st_mode) ? fmt::format("'{}' cannot be read: it is a folder", path.string())
                                      : fmt::format("'{}' is no regular file", path.string()));
}

RegularFile::~RegularFile() { ::close(descriptor_); }

std::ptrdiff_t RegularFile::read(int64_t at, void* to, size_t count) const {
  while (true) {
    const auto got = ::pread(descriptor_, to, count, at);
    if (got >= 0 || errno != EINTR) return got;
  }
}

std::string read_file(const std::filesystem::path& path) {
  const RegularFile file(path);
  std::string bytes(static_cast<size_t>(file.size()), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const auto got = file.read(static_cast<int64_t>(done), bytes.data() + done, bytes.size() - done);
    if (got < 0) throw unreadable(path, errno);
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace eav
