// Root mean square normalisation and SiLU in one pass over memory on the CPU: plain pointers in float32. nn/rms_norm.h
// is the interface for tensors.
#pragma once
#include <cstdint>

namespace eav {

// out = silu(x * weight / sqrt(mean(x^2) + eps)) of every position of x [positions, C]. `out` may be x.
struct RmsNormSiluTask {
  int64_t channels;
  const float *x, *weight;
  float eps;
  float* out;
};
void rms_norm_silu(const RmsNormSiluTask& task, int64_t begin, int64_t end);

}  // namespace eav
