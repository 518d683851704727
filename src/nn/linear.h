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
  Tensor operator()(const Tensor& x) const {
    return at::linear(x, weight.to(x.scalar_type()), bias ? std::optional(bias->to(x.scalar_type())) : std::nullopt);
  }
};

}  // namespace eav
