#include "eav/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "eav/error.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

Error cannot_write(const fs::path& out, int code) {
  return Error(fmt::format("cannot write '{}': {}", out.string(), std::generic_category().message(code)));
}

bool create_file(const fs::path& path) {
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  return file >= 0 && ::close(file) == 0;
}

bool create_folder(const fs::path& path) { return ::mkdir(path.c_str(), 0777) == 0; }

constexpr std::string_view kBegin = ".eav-", kEnd = ".part";

// Opens a file or folder of temporary name and takes its lock; -1 where another process has it.
int lock(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file >= 0 && ::flock(file, LOCK_EX | LOCK_NB) == 0) return file;
  if (file >= 0) ::close(file);
  return -1;
}

// Has the disk keep a file, or the names in a folder. Some file systems cannot: then there is nothing more to be done.
void sync(const fs::path& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return;
  ::fsync(file);
  ::close(file);
}

void move(const fs::path& from, const fs::path& to, Existing existing, const fs::path& out) {
  if (existing == Existing::replace) {
    if (::rename(from.c_str(), to.c_str()) != 0) throw cannot_write(out, errno);
    return;
  }
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0) return;
  if (errno != EINVAL) throw cannot_write(out, errno);
  // A file system without that call: looking and renaming are two steps.
  if (std::error_code ignored; fs::exists(to, ignored)) throw cannot_write(out, EEXIST);
  move(from, to, Existing::replace, out);
}

}  // namespace

fs::path user_cache_folder(const std::string& name) {
  const auto in = [](const char* variable) {
    const auto* value = std::getenv(variable);
    return value == nullptr ? fs::path() : fs::path(value);
  };
  auto cache = in("XDG_CACHE_HOME");
  if (!cache.is_absolute()) cache = in("HOME").is_absolute() ? in("HOME") / ".cache" : fs::path();
  return cache.empty() ? cache : cache / "enhance-a-video" / name;
}

fs::path target_of(const fs::path& out) {
  std::error_code error;
  auto path = fs::weakly_canonical(fs::absolute(out, error), error);
  if (error) throw Error(fmt::format("cannot use '{}': {}", out.string(), error.message()));
  return path.has_filename() ? path : path.parent_path();
}

void check_takes_files(const fs::path& folder, const fs::path& out) {
  std::error_code error;
  if (!fs::is_directory(folder, error))
    throw Error(
        fmt::format("cannot write '{}': there is no folder '{}'; create it first", out.string(), folder.string()));
  Temporary::folder(folder, out);  // permission bits alone do not tell: the file system may be read-only, or full
}

Temporary::Temporary(const fs::path& parent, const fs::path& out, Create create) : out_(out) {
  do {
    path_ = parent / fmt::format("{}{:08x}{}", kBegin, std::random_device{}(), kEnd);
    if (!create(path_)) continue;
    lock_ = lock(path_);
    return;
  } while (errno == EEXIST);
  throw cannot_write(out, errno);
}

Temporary Temporary::file(const fs::path& out) { return {target_of(out).parent_path(), out, create_file}; }

Temporary Temporary::folder(const fs::path& parent, const fs::path& out,
                            std::function<bool(const std::string& name)> ours) {
  Temporary made{parent, out, create_folder};
  made.ours_ = std::move(ours);
  return made;
}

Temporary::Temporary(Temporary&& other) noexcept
    : path_(std::exchange(other.path_, {})),
      out_(std::move(other.out_)),
      ours_(std::move(other.ours_)),
      lock_(std::exchange(other.lock_, -1)) {}

Temporary::~Temporary() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
  if (lock_ >= 0) ::close(lock_);
}

void Temporary::finish(Existing existing) const {
  const auto target = target_of(out_);
  std::error_code error;
  if (fs::is_directory(path_, error))
    for (const auto& file : fs::directory_iterator(path_, error)) sync(file.path());
  sync(path_);
  if (fs::is_directory(path_, error) && fs::is_directory(target, error))
    move_files(target, existing);
  else
    move(path_, target, existing, out_);
  sync(target.parent_path());
}

// The folder itself may be a mount point, which nothing can be renamed over.
void Temporary::move_files(const fs::path& folder, Existing existing) const {
  try {
    std::vector<fs::path> old, made;
    for (const auto& entry : fs::directory_iterator(folder))
      if (ours_ && ours_(entry.path().filename().string())) old.push_back(entry.path());
    if (existing == Existing::refuse && !old.empty()) throw cannot_write(out_, EEXIST);
    for (const auto& path : old) fs::remove(path);
    for (const auto& entry : fs::directory_iterator(path_)) made.push_back(entry.path());
    std::ranges::sort(made);
    for (const auto& path : made) move(path, folder / path.filename(), existing, out_);
    sync(folder);
  } catch (const fs::filesystem_error& failure) {
    throw cannot_write(out_, failure.code().value());
  }
}

void remove_left_over(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) continue;
    const int held = lock(entry.path());
    if (held < 0) continue;
    fs::remove_all(entry.path(), ignored);
    ::close(held);
  }
}

Temporary prepare_file(const fs::path& out, std::span<const std::string_view> parts) {
  auto part = Temporary::file(out);
  const auto close = [](std::FILE* file) { return std::fclose(file); };
  std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(part.path().c_str(), "wb"), close);
  if (!file) throw cannot_write(out, errno);
  for (const auto bytes : parts)
    if (!bytes.empty() && std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size())
      throw cannot_write(out, errno);
  if (std::fclose(file.release()) != 0) throw cannot_write(out, errno);
  return part;
}

Temporary prepare_file(const fs::path& out, std::string_view text) { return prepare_file(out, std::span(&text, 1)); }

void write_file(const fs::path& out, std::span<const std::string_view> parts) { prepare_file(out, parts).finish(); }

void write_file(const fs::path& out, std::string_view text) { prepare_file(out, text).finish(); }

}  // namespace eav
