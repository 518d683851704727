// Attention inside autoencoders, and the blocks at their lowest resolution, between which it lies.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

#include "nn/group_norm.h"
#include "nn/linear.h"
#include "vae/conv.h"
#include "vae/frames.h"
#include "vae/resnet.h"

namespace eav {

// Attention with one head, from every position to those of its own frame and the frames before it. Of one frame it is
// attention within a picture.
struct CausalFrameAttention {
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
  CausalFrameAttention(const Weights& w, int64_t channels, int64_t groups, double eps);

  Frames operator()(Frames x) const;
};

// The blocks at the lowest resolution.
struct MidBlock {
  ResnetBlock<GroupNormSilu> first;
  std::optional<CausalFrameAttention> attention;
  ResnetBlock<GroupNormSilu> second;

  Frames operator()(Frames x, Pass& pass) const;
};
// Those whose residual blocks `resnet` reads, and which have attention or not.
MidBlock read_mid_block(const Weights& w, int64_t channels, int64_t groups, double eps, bool has_attention,
                        const std::function<ResnetBlock<GroupNormSilu>(const Weights& w)>& resnet);

}  // namespace eav
