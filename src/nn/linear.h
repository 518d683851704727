// y = x W^T + b.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "weights/weights.h"

namespace eav {

struct Linear {
  Tensor weight;               // [out, in]
  std::optional<Tensor> bias;  // [out]; some families have none

  // Takes "weight" and, where there is one, "bias"; `in` and `out` are checked against the file.
  Linear(const Weights& w, int64_t in, int64_t out)
      : weight(w.load("weight", {out, in})), bias(w.optional("bias", {out})) {}

  // Computes in x's type. Weights held in another type (a 16-bit checkpoint on a CPU that computes in float32) are
  // converted for this call alone.
  Tensor operator()(const Tensor& x) const;

  // The same into `y` [..., out], which is contiguous and of x's type.
  void into(Tensor& y, const Tensor& x) const;

  // gelu_tanh(x W^T + b), the activation applied while its input is still in the cache.
  Tensor gelu_tanh(const Tensor& x) const;
};

}  // namespace eav
