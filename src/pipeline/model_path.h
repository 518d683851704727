// From the path that a user gives to the checkpoint that it means.
#pragma once
#include <filesystem>
#include <string>

namespace eav {

// Of a model in the cache of the hub (a folder models--ORG--NAME with refs/ and snapshots/), the snapshot that
// refs/main names, or the only one; any other path as it is. Throws eav::Error where several could be meant.
std::filesystem::path resolve_model_path(const std::filesystem::path& path);

// What to do with a path that is no checkpoint, by what lies there: " …"; empty where nothing is known.
std::string advice_for(const std::filesystem::path& path);

}  // namespace eav
