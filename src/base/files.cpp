#include "eav/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <system_error>

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

}  // namespace

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
    path_ = parent / fmt::format(".eav-{:08x}.part", std::random_device{}());
    if (create(path_)) return;
  } while (errno == EEXIST);
  throw cannot_write(out, errno);
}

Temporary Temporary::file(const fs::path& out) { return {target_of(out).parent_path(), out, create_file}; }

Temporary Temporary::folder(const fs::path& parent, const fs::path& out) { return {parent, out, create_folder}; }

Temporary::~Temporary() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void Temporary::finish() const {
  std::error_code error;
  fs::rename(path_, target_of(out_), error);
  if (error) throw cannot_write(out_, error.value());
}

void write_file(const fs::path& out, std::span<const std::string_view> parts) {
  const auto part = Temporary::file(out);
  const auto close = [](std::FILE* file) { return std::fclose(file); };
  std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(part.path().c_str(), "wb"), close);
  if (!file) throw cannot_write(out, errno);
  for (const auto bytes : parts)
    if (std::fwrite(bytes.data(), 1, bytes.size(), file.get()) != bytes.size()) throw cannot_write(out, errno);
  if (std::fclose(file.release()) != 0) throw cannot_write(out, errno);
  part.finish();
}

void write_file(const fs::path& out, std::string_view text) { write_file(out, std::span(&text, 1)); }

}  // namespace eav
