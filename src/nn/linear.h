// y = x W^T + b.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "weights/matrix.h"

namespace eav {

class Linear {
 public:
  // Takes "weight" and, where there is one, "bias"; `in` and `out` are checked against the file.
  Linear(const Weights& w, int64_t in, int64_t out) : weight_(w, out, in), bias_(w.optional("bias", {out})) {}

  // One that is stored as a convolution whose kernel is as large as its stride: its weight is [out, in, kernel...].
  static Linear of_patches(const Weights& w, const std::vector<int64_t>& shape) {
    return {Matrix::of_patches(w, shape), w.optional("bias", {shape[0]})};
  }

  // The map number `index` of `count` of the same size that are stored as one: its weight is [count * out, in].
  static Linear of_several(const Weights& w, int64_t in, int64_t out, int64_t index, int64_t count) {
    auto bias = w.optional("bias", {count * out});
    if (bias) bias = bias->narrow(0, index * out, out);
    return {Matrix::of_rows(w, count * out, in, index * out, out), std::move(bias)};
  }

  int64_t in_features() const { return weight_.columns(); }
  int64_t out_features() const { return weight_.rows(); }

  // [..., in] -> [..., out], in x's type.
  Tensor operator()(const Tensor& x) const { return filled(x, Matrix::Then::kNothing); }
  // gelu_tanh(x W^T + b), the activation applied while its input is still in the cache.
  Tensor gelu_tanh(const Tensor& x) const { return filled(x, Matrix::Then::kGeluTanh); }

  // x W^T + b, written into `y` [rows, out] of x's type, whose rows may be parts of longer ones; x is [rows, in].
  void into(const Tensor& y, const Tensor& x) const { weight_.multiply(x, bias_, y); }
  void gelu_tanh_into(const Tensor& y, const Tensor& x) const {
    weight_.multiply(x, bias_, y, Matrix::Then::kGeluTanh);
  }

 private:
  Linear(Matrix weight, std::optional<Tensor> bias) : weight_(std::move(weight)), bias_(std::move(bias)) {}
  Tensor filled(const Tensor& x, Matrix::Then then) const;

  Matrix weight_;               // [out, in]
  std::optional<Tensor> bias_;  // [out]; some families have none
};

}  // namespace eav
