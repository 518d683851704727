#include "files.h"

#include <fmt/format.h>

#include <system_error>

#include "eav/error.h"

namespace eav {

namespace fs = std::filesystem;

void check_file(const fs::path& path, bool overwrite) {
  std::error_code error;
  const auto found = fs::status(path, error).type();
  if (found != fs::file_type::not_found && found != fs::file_type::regular)
    throw Error(fmt::format("cannot write '{}': it is there, and no file", path.string()));
  if (found == fs::file_type::regular && !overwrite)
    throw Error(fmt::format("'{}' exists; --overwrite it, or choose another name", path.string()));
  check_takes_files(path.has_filename() ? target_of(path).parent_path() : path, path);
}

}  // namespace eav
