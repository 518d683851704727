// CFI by its formula in float64, and queries and keys to compute it from.
#pragma once
#include <ATen/ATen.h>

#include <cmath>
#include <vector>

namespace eav {
using at::Tensor;

// The attention maps [B, heads, S, T, T] in float64.
inline Tensor reference_maps(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto by_position = [&](const Tensor& t) {
    return t.to(at::kDouble).unflatten(2, {frames, -1}).transpose(2, 3);
  };
  const double scale = std::sqrt(static_cast<double>(query.size(3)));
  return at::softmax(at::matmul(by_position(query), by_position(key).transpose(-1, -2)) / scale, -1);
}

// [B, heads] in float64.
inline Tensor reference(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto others = at::eye(frames, at::kBool).logical_not();
  const auto mass = at::where(others, reference_maps(query, key, frames), 0.0).sum({-1, -2}).mean(-1);
  return mass / static_cast<double>(frames * (frames - 1));
}

inline double relative_error(const Tensor& found, const Tensor& expected) {
  return ((found.to(at::kDouble) - expected).abs() / expected).max().item<double>();
}

struct Pair {
  Tensor query, key;
  Pair to(at::ScalarType type) const { return {query.to(type), key.to(type)}; }
};

inline Pair random_pair(int64_t frames, int64_t dim, int64_t positions = 3, int64_t batch = 2, int64_t heads = 3) {
  at::manual_seed(static_cast<uint64_t>(frames * 1000 + dim));
  const std::vector<int64_t> shape{batch, heads, frames * positions, dim};
  return {at::randn(shape), at::randn(shape)};
}

}  // namespace eav
