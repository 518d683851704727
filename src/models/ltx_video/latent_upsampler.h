// LTX-Video's latent upsampler (diffusers' LTXLatentUpsamplerModel), and what its result is made more like afterwards
// (LTXLatentUpsamplePipeline).
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "nn/group_norm.h"
#include "vae/conv.h"
#include "weights/config.h"
#include "weights/weights.h"

namespace eav::ltx_video {
using at::Tensor;

struct UpsamplerConfig {
  int64_t in_channels;           // of latents
  int64_t mid_channels;          // of the layers between
  int64_t num_blocks_per_stage;  // residual blocks before the upsampling, and after it
  bool over_time;                // dims 3: convolutions and norms see all frames; 2: each frame by itself
  bool spatial_upsample;         // doubles height and width
  bool temporal_upsample;        // makes 2F - 1 of F frames

  // Throws eav::Error that names the field for values that cannot work.
  static UpsamplerConfig read(const JsonFile& config);
};

// silu(x + norm2(conv2(silu(norm1(conv1(x))))))
struct UpsamplerBlock {
  Conv3d conv1, conv2;
  GroupNorm norm1, norm2;
  UpsamplerBlock(const Weights& w, const UpsamplerConfig& c);

  Frames operator()(Frames x, Pass& pass) const;
};

class LatentUpsampler {
 public:
  LatentUpsampler(const Weights& w, const UpsamplerConfig& c);

  // Latents as the VAE decodes them, [1, C, F, h, w] -> [1, C, F or 2F - 1, h or 2h, w or 2w].
  Tensor operator()(const Tensor& latents, const Progress& progress) const;

 private:
  Frames upsample(Frames x, Pass& pass) const;  // frames [h, w, C]

  UpsamplerConfig config_;
  Conv3d initial_conv_;
  GroupNorm initial_norm_;
  std::vector<UpsamplerBlock> res_blocks_;
  Conv3d upsampler_;  // to the channels of all positions that one becomes
  std::vector<UpsamplerBlock> post_upsample_res_blocks_;
  Conv3d final_conv_;
};

// Latents [1, C, F, h, w] whose channels have the mean and the spread of those of `reference`, as far as `factor` says:
// adaptive instance normalisation (arXiv 1703.06868). A reference of single values has no spread, and changes nothing.
Tensor adain(const Tensor& latents, const Tensor& reference, double factor);

// Latents whose large values are made smaller, the more the larger they are; `compression` from 0, none, to 1.
Tensor tone_mapped(const Tensor& latents, double compression);

}  // namespace eav::ltx_video
