// By how much the enhancement strengthens the attention of a layer.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>

namespace eav {
using at::Tensor;

class Gain {
 public:
  // 1: the enhancement leaves the layer alone, and nothing is multiplied.
  Gain() = default;
  explicit Gain(Tensor factor) : factor_(std::move(factor)) {}  // [1, 1, 1] float32, not below 1

  // gain * x, in x's type: of the gate of a residual, [C] -> [1, 1, C], or of what attention gave.
  friend Tensor operator*(const Gain& gain, const Tensor& x) {
    return gain.factor_ ? x * gain.factor_->to(x.scalar_type()) : x;
  }
  // x becomes gain * x.
  void scale_(const Tensor& x) const {
    if (factor_) x.mul_(factor_->to(x.scalar_type()));
  }

 private:
  std::optional<Tensor> factor_;
};

}  // namespace eav
