// The encoder of HunyuanVideo's autoencoder (diffusers' AutoencoderKLHunyuanVideo): pictures to set out from.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/hunyuan_video/vae_blocks.h"
#include "models/hunyuan_video/vae_config.h"
#include "nn/conv.h"
#include "vae/resample.h"
#include "weights/weights.h"

namespace eav::hunyuan_video {

class VaeEncoder {
 public:
  // Takes the encoder's weights; unneeded_keys() are the decoder's.
  VaeEncoder(const Weights& w, const VaeConfig& c);

  // video [1, 3, F, H, W] in -1..1, of at most 16 frames, which the reference encodes at once -> the mode of its
  // latents [1, C, f, h, w], not yet times the scaling factor. With `tiling`, a picture larger than a tile is encoded
  // in overlapping tiles, which are blended.
  Tensor operator()(const Tensor& video, bool tiling, const Progress& progress) const;

  // Keys of the checkpoint that encoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  Tensor encode(const Tensor& video, const Progress& progress) const;  // [F, H, W, 3] -> [f, h, w, 2C]

  using DownLevel = Level<Resnet, Downsample>;

  VaeConfig config_;
  Conv3d conv_in_;
  std::vector<DownLevel> down_;
  MidBlock mid_;
  NormedConv<GroupNormSilu> conv_out_;
  PointwiseConv quant_conv_;
};

}  // namespace eav::hunyuan_video
