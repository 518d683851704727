// The layers that both halves of LTX-Video's autoencoder have.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "models/ltx_video/vae_config.h"
#include "nn/conv.h"
#include "nn/embeddings.h"
#include "nn/layer_norm.h"
#include "vae/conv.h"
#include "vae/resnet.h"
#include "vae/tiling.h"
#include "weights/weights.h"

namespace eav::ltx_video {

// What is decoded or encoded in overlapping tiles, which are blended: it takes less memory, and the result differs.
struct Tiles {
  bool space = false;  // pictures larger than a tile
  bool time = false;   // videos longer than one: frame-wise, as diffusers calls it
};

// The tiles of latents, and their parts of time, as far as `tiles` asks for them.
std::optional<TileGrid> tile_grid(const VaeConfig& c, const Tiles& tiles);
std::optional<Tiling> tiling_of_time(const VaeConfig& c, const Tiles& tiles);

// A 3x3x3 convolution. Before and after the video lie its first and last frame, or the first twice before it where the
// convolution is causal; around a frame lie zeros.
Conv3d conv3d(const Weights& w, int64_t in, int64_t out, bool causal);
NormedConv<RmsNormSilu> normed_conv(const Weights& w, int64_t in, int64_t out, bool causal);

// What a timestep makes of `tables` rows of C channels, beside what is learned for each block: [1] -> [tables, C].
struct TimeEmbedder {
  TimestepEmbedding timestep_embedder;
  int64_t tables;
  TimeEmbedder(const Weights& w, int64_t tables, int64_t channels);

  Tensor operator()(const Tensor& timestep, at::ScalarType type) const;
};

// A norm's affine map from its shift and its scale less one, the rows of `table` [2, C].
ChannelAffine modulation(const Tensor& table);

struct ResnetOptions {
  bool causal;
  double eps;  // of the norm before a shortcut
  bool timestep_conditioning = false, inject_noise = false;
};

// A residual block that may be told a timestep, and may inject noise into what each of its convolutions makes.
struct Resnet {
  NormedConv<RmsNormSilu> conv1, conv2;
  std::optional<LayerNorm> norm3;                                // where the number of channels changes
  std::optional<PointwiseConv> conv_shortcut;                    // and this after it
  std::optional<Tensor> scale_shift_table;                       // [4, C]: shift and scale of both norms
  std::optional<Tensor> per_channel_scale1, per_channel_scale2;  // [C, 1, 1], of injected noise
  Resnet(const Weights& w, int64_t in, int64_t out, const ResnetOptions& options);

  // temb [4, C]
  Frames operator()(Frames x, Pass& pass, const std::optional<Tensor>& temb = {},
                    const std::optional<at::Generator>& generator = {}) const;
};
std::vector<Resnet> resnet_blocks(const Weights& w, int64_t count, int64_t channels, const ResnetOptions& options);

}  // namespace eav::ltx_video
