// What the name of a checkpoint tells, where nothing inside it does.
#pragma once
#include <filesystem>
#include <string>

namespace eav {

// Whether a file, or a folder that may be a snapshot in the cache of the hub, is named with this word (in small
// letters), whatever the case of its own.
bool is_named(const std::filesystem::path& model, const std::string& word);

}  // namespace eav
