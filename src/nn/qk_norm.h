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
  // null. One pass over memory, rounded once, for float32 and bfloat16 on the CPU; ATen's operators for all else.
  void operator()(const Tensor& x, const Rope* rope) const;
};

// The same where the channels of all heads of a token are normed together.
struct QkNormAcrossHeads {
  RmsNorm norm;  // over the channels of a token
  QkNormAcrossHeads(const Weights& w, int64_t channels, double eps) : norm(w, channels, eps) {}

  // Changes x [B, L, C] in place; rotates every head of its tokens, as many as `rope` has positions, or none where it
  // is null. Rounded once: what stands between norm and rotation is float32, whatever the type of x.
  void operator()(const Tensor& x, const Rope* rope) const;
};

}  // namespace eav
