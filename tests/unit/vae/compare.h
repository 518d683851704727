// How far a result is from what it should be.
#pragma once
#include <ATen/ATen.h>

namespace eav {

// The largest difference, relative to the largest value; infinite where shapes differ.
inline double error(const at::Tensor& result, const at::Tensor& expected) {
  if (result.sizes() != expected.sizes()) return INFINITY;
  const auto wide = expected.to(at::kDouble);
  return ((result.to(at::kDouble) - wide).abs().max() / wide.abs().max()).item<double>();
}

}  // namespace eav
