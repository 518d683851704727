// silu(norm(x)) of a video: a pass over all of it for what the norm needs to know, then a frame at a time.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

#include "nn/group_norm.h"
#include "vae/frames.h"

namespace eav {

// Writes that of frame number t, x [H, W, C], to `out`, which may be x.
using NormedSilu = std::function<void(int64_t t, const Tensor& x, const Tensor& out)>;

// Over groups of channels, and all frames.
struct GroupNormSilu {
  GroupNorm norm;

  NormedSilu operator()(const Frames& x) const;
};

// A scale and a shift of every channel, each [C].
struct ChannelAffine {
  Tensor scale, shift;
};

// Over the channels of a position, by their root mean square.
struct RmsNormSilu {
  double eps;

  NormedSilu operator()(const Frames& x, const std::optional<ChannelAffine>& affine) const;
};

}  // namespace eav
