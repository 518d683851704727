// Describes a part of a checkpoint without loading it.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <span>
#include <string>

#include "eav/generator.h"
#include "weights/weights.h"

namespace eav {

// Reads `dir`/config.json and the table of its tensors. Throws eav::Error as Checkpoint::open does.
Part inspect_part(const std::filesystem::path& dir, const std::string& stem);

// How many parameters of a part are in memory while it works: all but the unneeded ones. With `streamed`, prefixes of
// blocks such as "transformer_blocks.", all blocks below these count as much as the largest.
int64_t held_parameters(const std::filesystem::path& dir, const std::string& stem,
                        std::span<const UnneededKey> unneeded, std::span<const std::string> streamed = {});

// The floating point type that most parameters of a part are stored in.
at::ScalarType stored_type(const Part& part);

}  // namespace eav
