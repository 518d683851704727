// Group normalisation of a video with channels last, split in two passes over memory: moments, then one pass that
// normalises, modulates and activates.
#pragma once
#include <ATen/ATen.h>

#include <span>
#include <utility>

#include "weights/weights.h"

namespace eav {

struct GroupNorm {
  Tensor weight, bias;  // [C]
  int64_t groups;       // of neighbouring channels; each is normalised over its channels and all positions
  double eps;

  GroupNorm(const Weights& w, int64_t channels, int64_t groups, double eps)
      : weight(w.load("weight", {channels})), bias(w.load("bias", {channels})), groups(groups), eps(eps) {}

  // The norm of x [..., C] as a scale and a shift of its channels, each [C] in float32: norm(x) = x * scale + shift.
  std::pair<Tensor, Tensor> operator()(const Tensor& x) const { return (*this)(std::span(&x, 1)); }
  // Such a scale and shift for a video whose frames, of one size, lie apart.
  std::pair<Tensor, Tensor> operator()(std::span<const Tensor> frames) const;
};

// out = silu(x * scale + shift) for one frame x [H, W, C], with scale and shift [h, w, C] in float32. H and W are
// multiples of h and w: each element of scale and shift belongs to a rectangle of positions. `out` may be x.
void modulate_silu(const Tensor& x, const Tensor& scale, const Tensor& shift, const Tensor& out);

}  // namespace eav
