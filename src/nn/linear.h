// y = x W^T + b.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "weights/weights.h"

namespace eav {

struct Linear {
  Tensor weight;               // [out, in]
  std::optional<Tensor> bias;  // [out]; some families have none

  // Takes "weight" and, where there is one, "bias"; `in` and `out` are checked against the file.
  Linear(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in})), bias(w.optional("bias", {out})) {}

  // The same map for a convolution whose kernel is as large as its stride: its weight is [out, in, kernel...].
  static Linear of_patches(const Weights& w, const std::vector<int64_t>& shape) {
    return {w.load("weight", shape).flatten(1), w.optional("bias", {shape[0]})};
  }

  // The map number `index` of `count` of the same size that are stored as one: its weight is [count * out, in].
  static Linear of_several(const Weights& w, int64_t in, int64_t out, int64_t index, int64_t count) {
    auto bias = w.optional("bias", {count * out});
    if (bias) bias = bias->narrow(0, index * out, out);
    return {w.load("weight", {count * out, in}).narrow(0, index * out, out), std::move(bias)};
  }

  // Computes in x's type. Weights held in another type (a 16-bit checkpoint on a CPU that computes in float32) are
  // converted for this call alone.
  Tensor operator()(const Tensor& x) const;

  // gelu_tanh(x W^T + b), the activation applied while its input is still in the cache.
  Tensor gelu_tanh(const Tensor& x) const;

  // The same into `y` [rows, out] of x's type, whose rows may be parts of longer ones; x is [rows, in].
  void into(const Tensor& y, const Tensor& x) const;
  void gelu_tanh_into(const Tensor& y, const Tensor& x) const;

 private:
  Linear(Tensor weight, std::optional<Tensor> bias) : weight(std::move(weight)), bias(std::move(bias)) {}
};

}  // namespace eav
