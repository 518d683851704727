// An RMS norm of every head, then the rotary embedding, on the CPU: plain pointers. nn/qk_norm.h is the interface for
// tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

// Angles by which pairs (even, odd) of neighbouring elements are turned: [count], each twice; null where none is.
struct Turns {
  const float *cos, *sin;
  int64_t count;
};

// One token x [heads, count] in float32 or bfloat16, in place and rounded once: each head times weight [count] /
// sqrt(mean(x^2) + eps), then turned: by angles for all of its elements, or for parts of them that are turned alike.
// Both counts are even.
void norm_and_rotate(void* x, Element element, int64_t heads, int64_t count, const float* weight, double eps,
                     const Turns& turns);

}  // namespace eav
