// The group norm's passes over memory on the CPU: plain pointers; it computes in float32. nn/group_norm.h is the
// interface for tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

// Adds to sum and square_sum [C] those of x - origin over the positions begin..end-1 of x [positions, C], of float32 or
// bfloat16, as `origin` [C].
void add_moments(const void* x, const void* origin, Element element, int64_t channels, int64_t begin, int64_t end,
                 double* sum, double* square_sum);

// out = silu(x * scale + shift) for a frame x [H, W, C], with scale and shift [H / tall, W / wide, C].
struct ModulateSilu {
  int64_t width, channels, tall, wide;
  Element element;  // of x and out: float32 or bfloat16
  const void* x;
  const float *scale, *shift;
  void* out;
};
void modulate_silu(const ModulateSilu& task, int64_t first_row, int64_t end_row);

}  // namespace eav
