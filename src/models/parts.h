// Describes a part of a checkpoint without loading it.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <string>

#include "eav/generator.h"

namespace eav {

// Reads `dir`/config.json and the table of its tensors. Throws eav::Error as Checkpoint::open does.
Part inspect_part(const std::filesystem::path& dir, const std::string& stem);

// The floating point type that most parameters of a part are stored in.
at::ScalarType stored_type(const Part& part);

}  // namespace eav
