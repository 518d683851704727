// The model families, by the class that a checkpoint's model_index.json names.
#pragma once
#include <filesystem>
#include <memory>

#include "models/family.h"

namespace eav {

// Opens the configuration of a checkpoint. Throws eav::Error when the model is neither a checkpoint folder nor a single
// file that a family opens, or of a family that is not known (the known ones are listed).
std::shared_ptr<Family> open_family(const ModelPaths& paths);

}  // namespace eav
