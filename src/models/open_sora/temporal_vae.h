// The second stage of Open-Sora's autoencoder: the pictures' latents over time. Every convolution is causal, and what
// lies before the first frame is zero.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/open_sora/vae_config.h"
#include "nn/conv.h"
#include "vae/conv.h"
#include "vae/resample.h"
#include "vae/resnet.h"
#include "weights/weights.h"

namespace eav::open_sora {

struct TemporalEncoder {
  using Resnet = ResnetBlock<GroupNormSilu>;
  using DownLevel = Level<Resnet, Downsample>;

  Conv3d conv_in;
  std::vector<DownLevel> down;
  std::vector<Resnet> mid;
  GroupNormSilu norm1;
  PointwiseConv conv2, quant_conv;
  int64_t embed_dim, compression;
  TemporalEncoder(const Weights& w, const TemporalVaeConfig& c);

  // x [F, h, w, in_out_channels] -> the mode of its latents [f, h, w, embed_dim], f = F / compression rounded up
  Tensor operator()(const Tensor& x, const Progress& progress) const;
};

// Doubles the frames: a convolution makes the channels of both.
struct TemporalUpsample {
  Conv3d conv;

  Frames operator()(Frames x, Pass& pass) const;
};

struct TemporalDecoder {
  using Resnet = ResnetBlock<GroupNormSilu>;
  using UpLevel = Level<Resnet, TemporalUpsample>;

  PointwiseConv post_quant_conv;
  Conv3d conv1;
  std::vector<Resnet> mid;
  std::vector<UpLevel> up;
  NormedConv<GroupNormSilu> conv_out;
  TemporalDecoder(const Weights& w, const TemporalVaeConfig& c);

  // z [f, h, w, embed_dim] -> [frames, h, w, in_out_channels], of f * compression frames the last ones
  Tensor operator()(const Tensor& z, int64_t frames, const Progress& progress) const;
};

}  // namespace eav::open_sora
