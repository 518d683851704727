// The causal 3D variational autoencoder of HunyuanVideo (diffusers' AutoencoderKLHunyuanVideo): its decoder.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/hunyuan_video/vae_blocks.h"
#include "models/hunyuan_video/vae_config.h"
#include "nn/conv.h"
#include "weights/weights.h"

namespace eav::hunyuan_video {

// The parts of time that more than a few latent frames are decoded in.
Tiling tiling_of_time(const VaeConfig& c);

// Doubles the size, or the frames except the first, or both, to the nearest; then convolves.
struct CausalUpsample {
  bool doubles_space, doubles_time;
  Conv3d conv;
  CausalUpsample(const Weights& w, int64_t level, const VaeConfig& c);

  Frames operator()(Frames x, Pass& pass) const;
};

struct Decoder {
  using UpLevel = Level<Resnet, CausalUpsample>;

  Conv3d conv_in;
  MidBlock mid;
  std::vector<UpLevel> up;
  NormedConv<GroupNormSilu> conv_out;
  Decoder(const Weights& w, const VaeConfig& c);

  // z [F, h, w, Cz] -> [T, H, W, 3]
  Tensor operator()(const Tensor& z, const Progress& progress) const;
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [B, C, F, h, w], already divided by the scaling factor -> video [B, 3, frames, H, W], about -1..1. More
  // than four latent frames are decoded in overlapping tiles of time, which are blended, as the model was made for.
  // With `tiling`, so is a picture larger than a tile: it takes less memory, and the result differs a little.
  Tensor decode(const Tensor& latents, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  PointwiseConv post_quant_conv_;
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size);

}  // namespace eav::hunyuan_video
