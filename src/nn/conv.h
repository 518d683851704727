// Convolutions over one video with channels last, [T, H, W, C]: the layout in which frames are slices of memory.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "weights/weights.h"

namespace eav {

enum class Write { kReplace, kAdd };

// A 3x3 convolution of every frame, padded with zeros so that its size stays.
struct Conv2d {
  Tensor weight;               // [out, in, 3, 3]
  std::optional<Tensor> bias;  // [out]

  Conv2d(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in, 3, 3})), bias(w.optional("bias", {out})) {}

  // frames [T, H, W, in] -> out [T, H, W, out]
  void operator()(const Tensor& frames, const Tensor& out) const;
};

// A 3x3x3 convolution whose frame sees itself and the two frames before it, but none after it.
struct CausalConv3d {
  static constexpr int64_t kHistory = 2;  // frames before the first one that it must be given

  Tensor weight;               // [out, in, 3, 3, 3]
  std::optional<Tensor> bias;  // [out]

  CausalConv3d(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in, 3, 3, 3})), bias(w.optional("bias", {out})) {}

  // frames [kHistory + T, H, W, in] -> out [T, H, W, out], replaced or added to.
  void operator()(const Tensor& frames, const Tensor& out, Write write = Write::kReplace) const;
};

// A convolution with a kernel of one element: a linear map of every position's channels. Its weight is stored as
// [out, in, 1, 1, 1].
struct PointwiseConv {
  Tensor weight;               // [out, in]
  std::optional<Tensor> bias;  // [out]

  PointwiseConv(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in, 1, 1, 1}).flatten(1)), bias(w.optional("bias", {out})) {}

  Tensor operator()(const Tensor& x) const;  // [..., in] -> [..., out]
};

}  // namespace eav
