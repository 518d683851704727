#include "hub/part_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "eav/error.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPiece = 1 << 20;  // bytes that are hashed between two looks at whether to stop

Error unwritable(const fs::path& path, int code) {
  return Error(fmt::format("cannot write '{}': {}{}", path.string(), std::generic_category().message(code),
                           code == ENOSPC ? "; once there is room, the same command goes on" : ""));
}

}  // namespace

BlobLock::BlobLock(const fs::path& file, Progress& progress) {
  using namespace std::chrono_literals;
  fs::create_directories(file.parent_path());
  for (bool told = false;;) {
    descriptor_ = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0664);
    if (descriptor_ < 0) throw unwritable(file, errno);
    struct stat status{};
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) == 0 && ::fstat(descriptor_, &status) == 0 && status.st_nlink > 0)
      return;
    ::close(std::exchange(descriptor_, -1));  // somebody has it, or had it and removed it
    if (!told) progress.warning("another program fetches the same file: waiting for it");
    told = true;
    progress.check();
    std::this_thread::sleep_for(100ms);
  }
}

BlobLock::~BlobLock() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

PartFile::PartFile(const fs::path& blob, const ListedFile& file, const Progress& progress)
    : blob_(blob), path_(blob.string() + ".incomplete"), file_(file) {
  fs::create_directories(blob.parent_path());
  descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  struct stat status{};
  if (descriptor_ < 0 || ::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    const int code = descriptor_ < 0 ? errno : EEXIST;
    if (descriptor_ >= 0) ::close(descriptor_);
    throw unwritable(path_, code);
  }
  try {
    digest_.emplace(file_.etag, file_.size);
    if (status.st_size > file_.size) restart();
    std::vector<char> piece(kPiece);
    while (size_ < status.st_size && status.st_size <= file_.size) {
      progress.check();
      const auto got = ::pread(descriptor_, piece.data(), piece.size(), size_);
      if (got <= 0) break;
      digest_->add({piece.data(), static_cast<size_t>(got)});
      size_ += got;
    }
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

PartFile::~PartFile() { ::close(descriptor_); }

void PartFile::restart() {
  if (::ftruncate(descriptor_, 0) != 0) throw unwritable(path_, errno);
  size_ = 0;
  digest_.emplace(file_.etag, file_.size);
}

void PartFile::append(std::string_view bytes) {
  if (static_cast<int64_t>(bytes.size()) > file_.size - size_) {
    restart();
    throw Error(fmt::format("{}: the hub sends more than the {} bytes that it lists: nothing of it is kept", file_.path,
                            file_.size));
  }
  digest_->add(bytes);
  while (!bytes.empty()) {
    const auto written = ::pwrite(descriptor_, bytes.data(), bytes.size(), size_);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw unwritable(path_, errno);
    size_ += written;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

void PartFile::finish() {
  if (size_ != file_.size || digest_->hex() != file_.etag) {
    ::unlink(path_.c_str());
    throw Error(
        fmt::format("{}: what came is not what the hub lists, by its checksum {}: it was removed; the same command "
                    "fetches it anew",
                    file_.path, file_.etag));
  }
  ::fsync(descriptor_);
  if (::rename(path_.c_str(), blob_.c_str()) != 0) throw unwritable(blob_, errno);
}

}  // namespace eav
