// The Gaussian error linear unit's tanh approximation on the CPU: plain pointers in float32. weights/gelu.h is the
// interface for tensors.
#pragma once
#include <cstdint>

namespace eav {

// x = x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2 for x [count], in this thread.
void gelu_tanh_row(float* x, int64_t count);

}  // namespace eav
