// The encoder of LTX-Video's autoencoder (diffusers' AutoencoderKLLTXVideo): pictures and clips to condition on.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/ltx_video/vae_blocks.h"
#include "models/ltx_video/vae_config.h"
#include "vae/resample.h"
#include "weights/weights.h"

namespace eav::ltx_video {

// Halves axes by moving positions into channels, of what a convolution makes, plus groups of channels of the input,
// averaged.
struct SpaceToDepth {
  Conv3d conv;
  int64_t time_stride, space_stride;
  Frames operator()(Frames x, Pass& pass) const;
};

struct DownBlock {
  std::vector<Resnet> resnets;
  std::optional<Downsample> downsample;
  std::optional<SpaceToDepth> space_to_depth;
  std::optional<Resnet> conv_out;  // where the number of channels changes
  DownBlock(const Weights& w, const VaeEncoderLevel& level, const ResnetOptions& options);

  Frames operator()(Frames x, Pass& pass) const;
};

// Normal distributions of latents as the transformer works with them, [B, C, F, h, w].
struct LatentsDistribution {
  Tensor mean, std;
};

class VaeEncoder {
 public:
  // Takes the encoder's weights; unneeded_keys() are the decoder's.
  VaeEncoder(const Weights& w, const VaeEncoderConfig& e);

  // video [B, 3, frames, H, W] in -1..1, where the transformer's latents have F = 1 + (frames - 1) / temporal
  // compression frames.
  LatentsDistribution operator()(const Tensor& video, const Tiles& tiles, const Progress& progress) const;

  static std::vector<UnneededKey> unneeded_keys();

 private:
  // [F, H, W, 3] -> [F, h, w, C + 1]: means, and a logarithm of the variance for all channels.
  Tensor encode(const Tensor& video, const Progress& progress) const;

  VaeConfig config_;
  Tensor latents_mean_, latents_std_;  // [C]
  Conv3d conv_in_;
  std::vector<DownBlock> down_blocks_;
  std::vector<Resnet> mid_block_;
  NormedConv<RmsNormSilu> conv_out_;
};

// The most memory in bytes that encoding a video of this size takes beside weights; the video is included.
int64_t encode_memory(const VaeEncoderConfig& e, int64_t frames, int64_t height, int64_t width, const Tiles& tiles,
                      int64_t element_size);

}  // namespace eav::ltx_video
