// The layers that both halves of Wan's autoencoders have. Around a frame lie zeros, and before the first one.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <span>
#include <vector>

#include "models/wan/vae_config.h"
#include "nn/linear.h"
#include "vae/conv.h"
#include "vae/norm.h"
#include "vae/resnet.h"
#include "vae/tiling.h"
#include "weights/weights.h"

namespace eav::wan {

// silu of a norm over the channels of a position, by their root mean square, each with a learned scale.
struct ScaledRmsSilu {
  Tensor gamma;  // [C]
  ScaledRmsSilu(const Weights& w, int64_t channels);

  NormedSilu operator()(const Frames& x) const;
};

using Resnet = ResnetBlock<ScaledRmsSilu>;

inline constexpr int64_t kTileSize = 256, kTileStride = 192;  // of a tile, and from one to the next, in pixels

Conv3d causal_conv(const Weights& w, int64_t in, int64_t out);
NormedConv<ScaledRmsSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out);
Resnet resnet_block(const Weights& w, int64_t in, int64_t out);

// A causal convolution in time alone: each position of the result is a linear map of that position in three frames.
struct TimeConv {
  Tensor weight, bias;  // [out, 3 * in], [out]
  TimeConv(const Weights& w, int64_t in, int64_t out);

  // `window`: three frames [H, W, in]. The channels `begin` to `end` of the result, [H, W, end - begin].
  Tensor operator()(std::span<const Tensor> window, int64_t begin, int64_t end) const;
};

// Attention with one head among the positions of a frame.
struct FrameAttention {
  Tensor gamma;  // [C], of the norm
  Linear to_qkv, proj;
  FrameAttention(const Weights& w, int64_t channels);

  Frames operator()(Frames x) const;
};

struct MidBlock {
  Resnet first;
  FrameAttention attention;
  Resnet second;
  MidBlock(const Weights& w, int64_t channels);

  Frames operator()(Frames x, Pass& pass) const;
};

// A number for each channel of latents [B, C, F, h, w], as they are.
Tensor of_channels(const std::vector<double>& values, const Tensor& latents);

}  // namespace eav::wan
