// Tells checkpoints and large files apart without reading all of them.
#pragma once
#include <filesystem>
#include <string>

#include "eav/generator.h"

namespace [[gnu::visibility("default")]] eav {

// 16 hexadecimal digits: a hash of every file's name and size below the model's folders, of small files whole, and of
// the beginning, middle and end of large ones; and of LoRAs, with their strengths. Equal for copies of a checkpoint.
std::string fingerprint(const ModelPaths& paths);

// 16 hexadecimal digits of a single file's content.
std::string file_fingerprint(const std::filesystem::path& file);

}  // namespace eav
