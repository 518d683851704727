// Residual blocks of autoencoders that normalise over groups of channels: a video's, or a picture's, which is a video
// of one frame.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "eav/progress.h"
#include "nn/conv.h"
#include "nn/frames.h"
#include "nn/group_norm.h"
#include "nn/linear.h"

namespace eav {

// A convolution over as many frames as its weight has taps.
struct VideoConv {
  Tensor weight;               // [out, in, taps, 3, 3]
  std::optional<Tensor> bias;  // [out]
  Surroundings around;

  // z [F, H, W, in]
  Frames operator()(const Tensor& z) const {
    return convolve(weight, bias, around, z.size(0), z.size(1) * z.size(2), [&](int64_t t) { return z[t]; });
  }
};

// conv(silu(norm(x))): how most convolutions of such an autoencoder get their input.
struct NormedConv {
  GroupNorm norm;
  VideoConv conv;

  // Memory for the normed frame t, which may be that of x[t]: it is asked for once, when x[t] was not yet normed and
  // all before it were.
  using Place = std::function<Tensor(int64_t t)>;
  // The result, added to the frames of `sum` where there are any. Normed frames live while the convolution sees them.
  Frames operator()(const Frames& x, const Place& place, Frames sum = {}) const;
  // The same, in the memory of x.
  Frames operator()(Frames&& x) const;
};

struct ResnetBlock {
  NormedConv conv1, conv2;
  std::optional<PointwiseConv> conv_shortcut;  // where the number of channels changes

  Frames operator()(Frames x) const;
};

// One after the other.
Frames run_all(const std::vector<ResnetBlock>& blocks, Frames x, const Progress& progress);

// Attention with one head, from every position to those of its own frame and the frames before it.
struct CausalFrameAttention {
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
  CausalFrameAttention(const Weights& w, int64_t channels, int64_t groups, double eps);

  Frames operator()(Frames x) const;
};

// The blocks at the lowest resolution.
struct MidBlock {
  ResnetBlock first;
  std::optional<CausalFrameAttention> attention;
  ResnetBlock second;

  Frames operator()(Frames x, const Progress& progress) const;
};
// Those whose residual blocks `resnet` reads, and which have attention or not.
MidBlock read_mid_block(const Weights& w, int64_t channels, int64_t groups, double eps, bool has_attention,
                        const std::function<ResnetBlock(const Weights& w)>& resnet);

}  // namespace eav
