// Root mean square normalisation over the last dimension (Zhang and Sennrich, arXiv 1910.07467): neither mean nor bias.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "weights/weights.h"

namespace eav {

// 1 / sqrt(mean(x^2) + eps) of every position: [..., C] -> [..., 1] in float32.
inline Tensor inverse_rms(const Tensor& x, double eps) {
  return at::rsqrt(x.to(at::kFloat).square().mean(-1, /*keepdim=*/true) + eps);
}

// x times it, computed in float32 and rounded to `result` before it is weighted, as transformers and
// diffusers do; `weight` [C], where there is one.
inline Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight, double eps, at::ScalarType result) {
  const auto wide = x.to(at::kFloat);
  const auto normed = (wide * inverse_rms(wide, eps)).to(result);
  return weight ? normed * weight->to(result) : normed;
}
inline Tensor rms_norm(const Tensor& x, const std::optional<Tensor>& weight, double eps) {
  return rms_norm(x, weight, eps, x.scalar_type());
}

// out = silu(rms_norm(x)) of [..., C]; `out` may be x. One pass over memory where a kernel takes them.
void rms_norm_silu(const Tensor& x, const Tensor& weight, double eps, const Tensor& out);

struct RmsNorm {
  Tensor weight;  // [C]
  double eps;

  RmsNorm(const Weights& w, int64_t channels, double eps) : weight(w.load("weight", {channels})), eps(eps) {}

  Tensor operator()(const Tensor& x) const { return rms_norm(x, weight, eps); }
  Tensor operator()(const Tensor& x, at::ScalarType result) const { return rms_norm(x, weight, eps, result); }
};

}  // namespace eav
