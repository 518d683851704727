// From the paths that a user gives to the files that they mean.
#pragma once
#include <filesystem>
#include <string>

#include "eav/generator.h"

namespace eav {

// Each path as resolve_model_path() (eav/hub.h) has it. With ComfyUI's folder, names of which the hub's cache has
// nothing are left: they may be names of files there.
ModelPaths resolve(ModelPaths paths);

// What to do with a path that is no checkpoint, by what lies there: " …"; empty where nothing is known.
std::string advice_for(const std::filesystem::path& path);

}  // namespace eav
