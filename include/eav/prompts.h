// Files of prompts.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] eav {

// One prompt a line, UTF-8. Throws eav::Error that names the file, and the line where one is empty or not UTF-8.
std::vector<std::string> read_prompts(const std::filesystem::path& file);

}  // namespace eav
