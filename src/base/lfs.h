// Pointers of git-lfs, which stand in the place of files that were not fetched.
#pragma once
#include <filesystem>
#include <string_view>

#include "eav/error.h"

namespace eav {

// Throws where the file, which begins with `bytes`, is such a pointer.
inline void refuse_lfs_pointer(const std::filesystem::path& file, std::string_view bytes) {
  if (bytes.starts_with("version https://git-lfs"))
    throw Error(file.string() + ": is a git-lfs pointer, not the file itself: fetch it with 'git lfs pull'");
}

}  // namespace eav
