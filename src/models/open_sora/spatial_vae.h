// The first stage of Open-Sora's autoencoder: diffusers' AutoencoderKL, a frame at a time.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/open_sora/vae_config.h"
#include "nn/resnet.h"
#include "weights/weights.h"

namespace eav::open_sora {

// Halves height and width: frame [H, W, C] -> [H / 2, W / 2, C], rounded down.
struct Downsample {
  Tensor weight, bias;  // [C, C, 3, 3], [C]
  Downsample(const Weights& w, int64_t channels);

  Tensor operator()(const Tensor& frame) const;
};

// Doubles height and width to the nearest, then convolves.
struct Upsample {
  VideoConv conv;

  Tensor operator()(const Tensor& frame) const;
};

struct SpatialEncoder {
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<Downsample> downsample;
  };
  VideoConv conv_in;
  std::vector<Level> down_blocks;
  MidBlock mid_block;
  NormedConv conv_out;
  PointwiseConv quant_conv;
  int64_t latent_channels;
  SpatialEncoder(const Weights& w, const SpatialVaeConfig& c);

  // frame [H, W, 3] in -1..1 -> the mode of its latents [h, w, C]
  Tensor operator()(const Tensor& frame, const Progress& progress) const;
};

struct SpatialDecoder {
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<Upsample> upsample;
  };
  PointwiseConv post_quant_conv;
  VideoConv conv_in;
  MidBlock mid_block;
  std::vector<Level> up_blocks;
  NormedConv conv_out;
  SpatialDecoder(const Weights& w, const SpatialVaeConfig& c);

  // latents [h, w, C] of a frame -> [H, W, 3], about -1..1
  Tensor operator()(const Tensor& latents, const Progress& progress) const;
};

// The most elements that decoding, or encoding, a frame of this size takes beside weights.
int64_t frame_elements(const SpatialVaeConfig& c, int64_t height, int64_t width);

}  // namespace eav::open_sora
