// The second stage of Open-Sora's autoencoder: the pictures' latents over time. Every convolution is causal, and what
// lies before the first frame is zero.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/open_sora/vae_config.h"
#include "nn/resnet.h"
#include "weights/weights.h"

namespace eav::open_sora {

struct TemporalEncoder {
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<VideoConv> downsample;  // halves the frames
  };
  VideoConv conv_in;
  std::vector<Level> levels;
  std::vector<ResnetBlock> res_blocks;
  GroupNorm norm1;
  PointwiseConv conv2, quant_conv;
  int64_t embed_dim, compression;
  TemporalEncoder(const Weights& w, const TemporalVaeConfig& c);

  // x [F, h, w, in_out_channels] -> the mode of its latents [f, h, w, embed_dim], f = F / compression rounded up
  Tensor operator()(const Tensor& x, const Progress& progress) const;
};

struct TemporalDecoder {
  struct Level {
    std::optional<VideoConv> upsample;  // before the blocks; doubles the frames
    std::vector<ResnetBlock> resnets;
  };
  PointwiseConv post_quant_conv;
  VideoConv conv1;
  std::vector<ResnetBlock> res_blocks;
  std::vector<Level> levels;  // from the last to the first
  NormedConv conv_out;
  TemporalDecoder(const Weights& w, const TemporalVaeConfig& c);

  // z [f, h, w, embed_dim] -> [frames, h, w, in_out_channels], of f * compression frames the last ones
  Tensor operator()(const Tensor& z, int64_t frames, const Progress& progress) const;
};

// The most elements that coding so many frames of h x w takes beside weights.
int64_t video_elements(const TemporalVaeConfig& c, int64_t frames, int64_t height, int64_t width);

}  // namespace eav::open_sora
