// The files that a command writes beside its video.
#pragma once
#include <filesystem>
#include <vector>

#include "eav/files.h"

namespace eav {

// Throws eav::Error when `path` could not be written: its folder is missing or takes no files, or it exists and
// `overwrite` is off. To be called before long work.
void check_file(const std::filesystem::path& path, bool overwrite);

// Removes the files that were added to it, unless they are kept: a failed command leaves none of its outputs.
class Unfinished {
 public:
  Unfinished() = default;
  ~Unfinished();
  Unfinished(const Unfinished&) = delete;
  Unfinished& operator=(const Unfinished&) = delete;

  void add(const std::filesystem::path& path) { paths_.push_back(path); }
  void keep() { paths_.clear(); }

 private:
  std::vector<std::filesystem::path> paths_;
};

}  // namespace eav
