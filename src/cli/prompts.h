// Files of prompts.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace eav {

// One prompt a line. Throws eav::Error that names `option`, the file and the line where one is empty or not UTF-8.
std::vector<std::string> read_prompts(const std::string& option, const std::filesystem::path& file);

}  // namespace eav
