// The files that a command writes beside its video.
#pragma once
#include <filesystem>

#include "eav/files.h"

namespace eav {

// Throws eav::Error when `path` could not be written: its folder is missing or takes no files, or it exists and
// `overwrite` is off. To be called before long work.
void check_file(const std::filesystem::path& path, bool overwrite);

}  // namespace eav
