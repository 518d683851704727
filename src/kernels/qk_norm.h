// An RMS norm of every head, then the rotary embedding, on the CPU: plain pointers in float32. nn/qk_norm.h is the
// interface for tensors.
#pragma once
#include <cstdint>

namespace eav {

// One token x [heads, count], in place: each head times weight [count] / sqrt(mean(x^2) + eps), then each pair (even,
// odd) of its elements turned by an angle. cos and sin [count] have every angle's twice; null where nothing is turned.
// `count` is even.
void norm_and_rotate(float* x, int64_t heads, int64_t count, const float* weight, double eps, const float* cos,
                     const float* sin);

}  // namespace eav
