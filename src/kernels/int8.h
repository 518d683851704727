// Matrix products in int8 on the CPU: plain pointers. A row of x and a row of W are each rounded to 8 bits with a scale
// of their own, after a rotation that spreads what stands out over its neighbours (QuaRot, arXiv 2404.00456): the
// product of two rows that are rotated alike is the same. weights/matrix.h is the interface for tensors.
#pragma once
#include <cstdint>

#include "kernels/element.h"

namespace eav {

// The number of neighbouring elements that are rotated together in rows of so many: a power of two, 0 where none
// serves. The rotation is regular_hadamard()'s of weights/packed.h.
int64_t int8_rotation(int64_t columns);

// A row [columns] of float32 or bfloat16, rotated and divided by its scale, which is returned: `to` [columns padded to
// kInt8Padding] holds whole numbers from -127 to 127 plus 128, and 128 behind the last. What is not finite becomes a
// scale that is not. `scratch` holds as many floats.
constexpr int64_t kInt8Padding = 16;
float quantize_int8(const void* row, Element element, int64_t columns, int64_t rotated, float* scratch, uint8_t* to);

// Where weights [out, in] lie for products: tiles of kInt8Tile rows, of four columns at a time, [in / 4, rows, 4],
// padded with zeros.
constexpr int64_t kInt8Tile = 64;
constexpr int64_t int8_padded_rows(int64_t out) { return (out + kInt8Padding - 1) / kInt8Padding * kInt8Padding; }
constexpr int64_t int8_padded_columns(int64_t in) { return (in + 3) / 4 * 4; }
constexpr int64_t int8_bytes(int64_t out, int64_t in) { return int8_padded_rows(out) * int8_padded_columns(in); }
// Of more columns, sums could leave 32 bits.
constexpr int64_t kInt8MostColumns = 65536;
// From rows [out, in] into tiles, with 128 times the sum of every row, and back.
void pack_int8(const int8_t* rows, int64_t out, int64_t in, int8_t* tiles, int32_t* sums);
void unpack_int8(const int8_t* tiles, int64_t out, int64_t in, int8_t* rows);

// y = x W^T + b.
struct Int8Product {
  int64_t rows, in, out;
  const void* x;  // [rows, in], its rows x_stride elements apart
  int64_t x_stride;
  Element element;  // of x and y: float32 or bfloat16
  int64_t rotated;
  const int8_t* tiles;
  const float* scales;  // of rows of W [padded out]
  const int32_t* sums;  // [padded out]
  const float* bias;    // [out], or null
  void* y;              // [rows, out]
  int64_t y_stride;
  bool gelu_tanh;  // of the sums
};
void multiply(const Int8Product& product);
// The bytes that threads work with in such a product.
int64_t int8_scratch_bytes(int64_t rows, int64_t in);

// Whether that is exact here but for the rounding of rows: sums of the largest and the smallest numbers, and of random
// ones, are tried when it is first asked.
bool int8_kernel_works();

}  // namespace eav
