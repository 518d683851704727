// What attention does to queries and keys before they meet: an RMS norm of every head, then the rotary embedding.
#pragma once
#include <ATen/ATen.h>

#include "nn/rms_norm.h"
#include "nn/rope.h"

namespace eav {

struct QkNorm {
  RmsNorm norm;  // over the channels of a head
  QkNorm(const Weights& w, int64_t head_dim, double eps) : norm(w, head_dim, eps) {}

  // Changes x [B, L, heads, d] in place; rotates its first tokens, as many as `rope` has positions, or none where it is
  // null. One pass over memory for float32 on the CPU, ATen's operators for everything else.
  void operator()(const Tensor& x, const Rope* rope) const;
};

}  // namespace eav
