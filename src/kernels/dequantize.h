// Packed numbers as float32 or bfloat16: plain pointers. weights/packed.h is the interface for tensors.
#pragma once
#include <c10/util/BFloat16.h>

#include <cstdint>

#include "kernels/packing.h"

namespace eav {

// `blocks` blocks from `from`, of any alignment, to as many times the packing's elements. Every number is the one that
// float32 arithmetic gives, rounded once more where `to` is bfloat16. `scale` multiplies the packings of one byte an
// element, which have none of their own.
void dequantize(Packing packing, const uint8_t* from, int64_t blocks, float scale, float* to);
void dequantize(Packing packing, const uint8_t* from, int64_t blocks, float scale, c10::BFloat16* to);

}  // namespace eav
