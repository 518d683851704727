// Parts of models in ComfyUI's folders.
#pragma once
#include <string>

#include "eav/generator.h"

namespace eav {

struct FoundInComfyui {
  ModelPaths paths;
  std::string note;  // the files that were taken, in one line; empty where none was
};

// Looks up the parts that `paths.model` needs and `paths` does not name, in the folders of `paths.comfyui`: its models/
// and those of its extra_model_paths.yaml. `paths.model`, and any other file that is not there as it is given, may be a
// name in these folders. Throws eav::Error where several files fit, naming them, or none does.
FoundInComfyui find_in_comfyui(ModelPaths paths);

}  // namespace eav
