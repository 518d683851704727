// Layer normalisation over the last dimension.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "nn/planned.h"
#include "weights/weights.h"

namespace eav {

struct LayerNorm {
  std::optional<Tensor> weight, bias;  // [C]; absent when the norm is not elementwise affine
  int64_t channels;
  double eps;

  LayerNorm(const Weights& w, int64_t channels, double eps)
      : weight(w.optional("weight", {channels})), bias(w.optional("bias", {channels})), channels(channels), eps(eps) {}

  Tensor operator()(const Tensor& x) const { return layer_norm(x, in_type_of(x, weight), in_type_of(x, bias), eps); }

  // norm(x) * (1 + scale) + shift, with scale and shift [C], in one pass: both are folded into the affine parameters.
  Tensor operator()(const Tensor& x, const Tensor& scale, const Tensor& shift) const {
    const auto gain = scale + 1;
    const auto w = in_type_of(x, weight), b = in_type_of(x, bias);
    return layer_norm(x, w ? *w * gain : gain, b ? at::addcmul(shift, *b, gain) : shift, eps);
  }

 private:
  static std::optional<Tensor> in_type_of(const Tensor& x, const std::optional<Tensor>& t) {
    return t ? std::optional(t->to(x.scalar_type())) : std::nullopt;
  }
};

}  // namespace eav
