// Tells checkpoints and large files apart without reading all of them.
#pragma once
#include <filesystem>
#include <string>

namespace eav {

// 16 hexadecimal digits: a hash of every file's name and size below `model`, of small files whole, and of the
// beginning, middle and end of large ones. Equal for copies of a checkpoint.
std::string fingerprint(const std::filesystem::path& model);

// The same for a single file's content.
std::string file_fingerprint(const std::filesystem::path& file);

}  // namespace eav
