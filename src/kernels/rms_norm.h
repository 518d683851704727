// Root mean square normalisation and SiLU in one pass over memory on the CPU: plain pointers; it computes in float32.
// nn/rms_norm.h is the interface for tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

// out = silu(x * weight / sqrt(mean(x^2) + eps)) of every position of x [positions, C]. `out` may be x.
struct RmsNormSiluTask {
  int64_t channels;
  Element element;  // of x and out: float32 or bfloat16
  const void* x;
  const float* weight;
  float eps;
  void* out;
};
void rms_norm_silu(const RmsNormSiluTask& task, int64_t begin, int64_t end);

}  // namespace eav
