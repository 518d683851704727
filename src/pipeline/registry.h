// The model families, by the class that a checkpoint's model_index.json names.
#pragma once
#include <filesystem>
#include <memory>

#include "models/family.h"
#include "text/encoder_files.h"

namespace eav {

// What a file with a transformer needs beside it; nothing for others.
std::vector<Need> needs_of(const FileTable& file);

// Whether a path is a file of tensors, or the index of several.
bool is_weight_file(const std::filesystem::path& path);

// Opens the configuration of a checkpoint. Throws eav::Error when the model is neither a checkpoint folder nor a single
// file that a family opens, or of a family that is not known (the known ones are listed).
std::shared_ptr<Family> open_family(const ModelPaths& paths);

}  // namespace eav
