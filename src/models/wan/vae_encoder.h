// The encoder of Wan's autoencoders (diffusers' AutoencoderKLWan): pictures and videos to set out from.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/wan/vae_blocks.h"
#include "models/wan/vae_config.h"
#include "weights/weights.h"

namespace eav::wan {

class VaeEncoder {
 public:
  // Takes the encoder's weights; unneeded_keys() are the decoder's.
  VaeEncoder(const Weights& w, const VaeConfig& c);

  // video [1, 3, F, H, W] in -1..1, of 4k + 1 frames -> the mode of its latents [1, C, k + 1, h, w] as the transformer
  // works with them. With `tiling`, a large picture is encoded in overlapping tiles, which are blended.
  Tensor encode(const Tensor& video, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that encoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
};

}  // namespace eav::wan
