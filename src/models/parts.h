// Describes a part of a checkpoint without loading it.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eav/generator.h"
#include "weights/placement.h"
#include "weights/weights.h"

namespace eav {

// Reads `dir`/config.json and the table of its tensors. Throws eav::Error as Checkpoint::open does.
Part inspect_part(const std::filesystem::path& dir, const std::string& stem);

// How the files with weights begin: those of diffusers' models and those of transformers'.
inline constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
inline constexpr const char* kTransformersStem = "model";

// The bytes of a part's weights that are in memory while it works: all but the unneeded ones. `blocks` are prefixes
// such as "transformer_blocks."; with offload, all blocks below these count as much as the largest.
int64_t held_bytes(const std::filesystem::path& dir, const std::string& stem, const Placement& placement,
                   std::span<const UnneededKey> unneeded, const std::vector<std::string>& blocks = {});

// The floating point type that most parameters of a part are stored in.
at::ScalarType stored_type(const Part& part);

}  // namespace eav
