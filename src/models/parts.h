// Describes a part of a checkpoint without loading it.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "eav/generator.h"
#include "weights/config.h"
#include "weights/placement.h"
#include "weights/weights.h"

namespace eav {

// What the table of a part's tensors tells. Throws eav::Error as Checkpoint::open does.
Part inspect_part(const std::string& name, const JsonFile& config, const CheckpointSource& source);
// The same for the part in a folder, with its config.json.
Part inspect_part(const std::filesystem::path& dir, const std::string& stem);

// How the files with weights begin: those of diffusers' models and those of transformers'.
inline constexpr const char* kDiffusersStem = "diffusion_pytorch_model";
inline constexpr const char* kTransformersStem = "model";

// The bytes of a part's weights that are in memory while it works: all but the unneeded ones. `blocks` are prefixes
// such as "transformer_blocks."; with offload, all blocks below these count as much as the largest.
int64_t held_bytes(const CheckpointSource& source, const Placement& placement, std::span<const UnneededKey> unneeded,
                   const std::vector<std::string>& blocks = {});
inline int64_t held_bytes(const std::filesystem::path& dir, const std::string& stem, const Placement& placement,
                          std::span<const UnneededKey> unneeded, const std::vector<std::string>& blocks = {}) {
  return held_bytes({.path = dir, .stem = stem, .rename = {}}, placement, unneeded, blocks);
}

// Throws when the transformer takes other latents or embeddings than the part `other` gives: numbers of channels,
// `what` in words.
void check_agree(const std::filesystem::path& model, const std::string& what, int64_t transformer,
                 const std::string& other, int64_t theirs);

// The model built from a part's weights. Throws eav::Error when weights are missing or left over.
template <class Model, class Config>
Model load_part(const CheckpointSource& source, const LoadPolicy& policy, const Config& config,
                std::span<const UnneededKey> unneeded) {
  const auto checkpoint = Checkpoint::open(source, policy);
  Model model(Weights(checkpoint), config);
  checkpoint.check_all_read(unneeded);
  return model;
}
template <class Model, class Config>
Model load_part(const std::filesystem::path& dir, const std::string& stem, const LoadPolicy& policy,
                const Config& config, std::span<const UnneededKey> unneeded) {
  return load_part<Model>({.path = dir, .stem = stem, .rename = {}}, policy, config, unneeded);
}

// The floating point type that most parameters of a part are stored in.
at::ScalarType stored_type(const Part& part);

}  // namespace eav
