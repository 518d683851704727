// The feed-forward layer of a transformer block: two linear layers with an activation between (diffusers' FeedForward).
#pragma once
#include <ATen/ATen.h>

#include <utility>

#include "nn/linear.h"

namespace eav {

enum class Activation { gelu, gelu_tanh, silu };

struct FeedForward {
  // Rows that are computed at a time: enough for the matrix product's full rate, few enough that the hidden layer of a
  // long video is never in memory whole.
  static constexpr int64_t kRows = 4096;

  Linear in, out;
  Activation activation;
  FeedForward(const Weights& w, int64_t channels, int64_t hidden, Activation activation)
      : in(w / "net" / 0 / "proj", channels, hidden), out(w / "net" / 2, hidden, channels), activation(activation) {}
  FeedForward(Linear in, Linear out, Activation activation)
      : in(std::move(in)), out(std::move(out)), activation(activation) {}

  Tensor operator()(const Tensor& x) const;  // [B, L, C] -> the same
};

}  // namespace eav
