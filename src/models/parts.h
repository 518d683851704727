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

// Throws when the transformer takes other latents or embeddings than the part `other` gives: numbers of channels,
// `what` in words.
void check_agree(const std::filesystem::path& model, const std::string& what, int64_t transformer,
                 const std::string& other, int64_t theirs);

// The model that `dir` holds, built from its weights. Throws eav::Error when weights are missing or left over.
template <class Model, class Config>
Model load_part(const std::filesystem::path& dir, const std::string& stem, const LoadPolicy& policy,
                const Config& config, std::span<const UnneededKey> unneeded) {
  const auto checkpoint = Checkpoint::open(dir, stem, policy);
  Model model(Weights(checkpoint), config);
  checkpoint.check_all_read(unneeded);
  return model;
}

// The floating point type that most parameters of a part are stored in.
at::ScalarType stored_type(const Part& part);

}  // namespace eav
