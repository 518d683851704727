// The first stage of Open-Sora's autoencoder: diffusers' AutoencoderKL, a frame at a time.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/open_sora/vae_config.h"
#include "nn/conv.h"
#include "vae/attention.h"
#include "vae/conv.h"
#include "vae/resample.h"
#include "vae/resnet.h"
#include "weights/weights.h"

namespace eav::open_sora {

struct SpatialEncoder {
  using DownLevel = Level<ResnetBlock<GroupNormSilu>, Downsample>;

  Conv3d conv_in;
  std::vector<DownLevel> down;
  MidBlock mid;
  NormedConv<GroupNormSilu> conv_out;
  PointwiseConv quant_conv;
  int64_t latent_channels;
  SpatialEncoder(const Weights& w, const SpatialVaeConfig& c);

  // frame [H, W, 3] in -1..1 -> the mode of its latents [h, w, C]
  Tensor operator()(const Tensor& frame, const Progress& progress) const;
};

struct SpatialDecoder {
  using UpLevel = Level<ResnetBlock<GroupNormSilu>, Upsample>;

  PointwiseConv post_quant_conv;
  Conv3d conv_in;
  MidBlock mid;
  std::vector<UpLevel> up;
  NormedConv<GroupNormSilu> conv_out;
  SpatialDecoder(const Weights& w, const SpatialVaeConfig& c);

  // latents [h, w, C] of a frame -> [H, W, 3], about -1..1
  Tensor operator()(const Tensor& latents, const Progress& progress) const;
};

}  // namespace eav::open_sora
