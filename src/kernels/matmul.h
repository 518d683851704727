// The matrix product y = x W^T + b on the CPU in float32: plain pointers. weights/matrix.h is the interface for
// tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

struct Matmul {
  int64_t rows, in, out;
  const float* x;      // [rows, in]
  const void* weight;  // [out, in], each element as `stored` says; converted while it is packed
  Element stored;
  const float* bias;  // [out], or null
  float* y;           // [rows, out], its rows y_stride elements apart
  int64_t y_stride;
  void (*finish)(float* x, int64_t count);  // applied to every part of y once it is there, or null
};

// Whether this kernel is the faster way here: on CPUs whose best instructions are AVX2 it is a little faster than the
// library that ATen calls (benchmarks/linear.py), and finishes rows in the cache; with AVX-512 that library is taken.
bool matmul_is_faster();

void matmul(const Matmul& product);

}  // namespace eav
