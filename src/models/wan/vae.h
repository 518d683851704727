// The causal 3D variational autoencoders of Wan (diffusers' AutoencoderKLWan): their decoder.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/wan/vae_blocks.h"
#include "models/wan/vae_config.h"
#include "nn/conv.h"
#include "weights/weights.h"

namespace eav::wan {

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [B, C, F, h, w] as the transformer works with them -> video [B, 3, frames, H, W] in -1..1, decoded a few
  // latent frames at a time. With `tiling`, a picture larger than a tile is decoded in overlapping tiles, which are
  // blended: it takes less memory, and the result differs a little.
  Tensor decode(const Tensor& latents, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
};

}  // namespace eav::wan
