#include "cli/files.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <memory>
#include <random>
#include <system_error>

#include "eav/error.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

fs::path temporary_beside(const fs::path& path) {
  return folder_of(path) / fmt::format(".eav-{:08x}.part", std::random_device{}());
}

Error cannot_write(const fs::path& path, int code) {
  return Error(fmt::format("cannot write '{}': {}", path.string(), std::generic_category().message(code)));
}

}  // namespace

void check_file(const fs::path& path, bool overwrite) {
  std::error_code error;
  const auto found = fs::status(path, error).type();
  if (found != fs::file_type::not_found && found != fs::file_type::regular)
    throw Error(fmt::format("cannot write '{}': it is there, and no file", path.string()));
  if (found == fs::file_type::regular && !overwrite)
    throw Error(fmt::format("'{}' exists; --overwrite it, or choose another name", path.string()));
  if (const auto folder = folder_of(path); !fs::is_directory(folder, error))
    throw Error(
        fmt::format("cannot write '{}': there is no folder '{}'; create it first", path.string(), folder.string()));
  const auto probe = temporary_beside(path);  // permission bits alone do not tell
  if (!fs::create_directory(probe, error)) throw cannot_write(path, error.value());
  fs::remove(probe, error);
}

void write_file(const fs::path& path, const std::string& text) {
  const auto part = temporary_beside(path);
  Unfinished unfinished;
  unfinished.add(part);
  errno = 0;
  const auto close = [](std::FILE* file) { return std::fclose(file); };
  std::unique_ptr<std::FILE, decltype(close)> file(std::fopen(part.c_str(), "wb"), close);
  if (!file || std::fwrite(text.data(), 1, text.size(), file.get()) != text.size() || std::fclose(file.release()) != 0)
    throw cannot_write(path, errno);
  std::error_code error;
  fs::rename(part, path, error);
  if (error) throw cannot_write(path, error.value());
  unfinished.keep();
}

Unfinished::~Unfinished() {
  std::error_code ignored;
  for (const auto& path : paths_) fs::remove(path, ignored);
}

}  // namespace eav
