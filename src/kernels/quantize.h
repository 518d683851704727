// Float32 numbers as packed ones: plain pointers, the other way of kernels/dequantize.h.
#pragma once
#include <cstdint>

#include "kernels/packing.h"

namespace eav {

// The packings that quantize() writes.
constexpr bool can_quantize(Packing packing) {
  return packing == Packing::float8_e4m3 || packing == Packing::q8_0 || packing == Packing::q4_k;
}

// `blocks` blocks' elements from `from` to `to`. float8_e4m3: the nearest number, ties to even, the largest where
// `from` is larger. q8_0: the bytes that ggml writes. q4_k: the scales of a group of 32 with the least squared error
// among those that are tried.
void quantize(Packing packing, const float* from, int64_t blocks, uint8_t* to);

}  // namespace eav
