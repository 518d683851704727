// LLaVA (Liu et al., arXiv 2304.08485) as an encoder of text and a picture: CLIP's vision tower, a projector of its
// patches to tokens, and a LLaMA that reads them among those of the text (transformers' LlavaForConditionalGeneration).
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <string>
#include <vector>

#include "text/clip_vision.h"
#include "text/llama.h"

namespace eav {

struct LlavaConfig {
  ClipVisionConfig vision;
  LlamaConfig text;
  int64_t image_token;    // the id that stands for a token of the picture
  int64_t vision_layers;  // of the tower, that are run
  bool gelu_tanh;         // of the projector: GELU approximated by a hyperbolic tangent

  // Throws eav::Error that names the field for values that cannot work.
  explicit LlavaConfig(const JsonFile& json);
};

struct LlavaProjector {
  Linear linear_1, linear_2;
  bool gelu_tanh;
  LlavaProjector(const Weights& w, const LlavaConfig& c);

  Tensor operator()(const Tensor& x) const;  // [B, patches, vision C] -> [B, patches, text C]
};

struct LlavaEncoder {
  int64_t image_token;
  ClipVisionTower vision_tower;
  LlavaProjector multi_modal_projector;
  LlamaEncoder language_model;
  // Where a checkpoint keeps the three: prefixes, each with a point at its end or empty.
  struct Prefixes {
    std::string vision_tower, multi_modal_projector, language_model;
    explicit Prefixes(const Checkpoint& checkpoint);
  };
  LlavaEncoder(const Checkpoint& checkpoint, const Prefixes& prefixes, const LlavaConfig& c, int64_t skipped_layers);

  // The last `skipped_layers` of the LLaMA are never read. Throws eav::Error where the configuration does not serve.
  static Part<LlavaEncoder> part(const PartSource& source, int64_t skipped_layers);
  // What LLaVA checkpoints hold besides what is read.
  static std::vector<UnneededKey> unneeded_keys(const LlavaConfig& c, int64_t skipped_layers);
  // Prefixes of the LLaMA's blocks, one before the block's number, for memory plans.
  static std::vector<std::string> block_prefixes();

  // ids [1, L], with `image_token` as often as the tower has patches, and pixels [1, 3, image_size, image_size],
  // normalised -> [1, L, C] in the type of the pixels: transformers' hidden_states[-(skipped_layers + 1)].
  Tensor operator()(const Tensor& ids, const Tensor& pixels, const Progress& progress) const;
};

}  // namespace eav
