// The vision tower of CLIP (Radford et al., arXiv 2103.00020): a transformer over the patches of a picture.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <string>
#include <vector>

#include "text/clip.h"
#include "weights/part.h"

namespace eav {

struct ClipVisionConfig : ClipBlockConfig {
  int64_t image_size;  // pixels of a picture's height and width
  int64_t patch_size;  // pixels of a patch's

  explicit ClipVisionConfig(const JsonFile& json);

  int64_t patches() const { return (image_size / patch_size) * (image_size / patch_size); }
};

struct ClipVisionTower {
  int64_t patch_size, image_size;
  Tensor class_embedding;     // [C]
  Linear patch_embedding;     // of patches
  Matrix position_embedding;  // [1 + patches, C]
  LayerNorm pre_layrnorm;
  std::vector<ClipBlock> blocks;
  // The first `layers` of the tower's blocks.
  ClipVisionTower(const Weights& w, const ClipVisionConfig& c, int64_t layers);

  // What a tower's checkpoint holds besides these, below `prefix`.
  static std::vector<UnneededKey> unneeded_keys(const ClipVisionConfig& c, int64_t layers, const std::string& prefix);

  // A checkpoint of a tower alone, as CLIPVisionModel and CLIPVisionModelWithProjection are saved. All its blocks but
  // the last. Throws eav::Error where the configuration does not serve.
  static Part<ClipVisionTower> part(const PartSource& source);

  // What the last of the blocks makes of a picture: pixels [B, 3, image_size, image_size], normalised -> [B, 1 +
  // patches, C] in their type. The first token is the class token, which stands for the whole picture.
  Tensor operator()(const Tensor& pixels, const Progress& progress) const;
};

}  // namespace eav
