// Matrices as `--quantize int8` holds them.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

#include "weights/packed.h"

namespace eav {

// For products that are in int8 too.
struct Int8Matrix {
  Tensor tiles;   // int8, as kernels/int8.h lays them out
  Tensor scales;  // of rows, float32
  Tensor sums;    // of rows, times 128, int32
  int64_t rows, columns, rotated;

  int64_t bytes() const { return static_cast<int64_t>(tiles.nbytes() + scales.nbytes() + sums.nbytes()); }
};

// Whether products are in int8 here; where not, quantised weights are packed ones.
bool int8_is_fast();

// Whether matrices of so many columns have a sum that fits.
bool fits_int8(int64_t columns);

// Rounds rows, rotated, to 8 bits with a scale for each: numbers(first, count) gives `count` of them in float32. What
// comes of it is multiplied as packed weights are, where products in int8 are not exact.
Packed quantized_to_int8(int64_t rows, int64_t columns, const std::function<Tensor(int64_t, int64_t)>& numbers);

// Rounds rows in blocks of 32, weights alone: what is multiplied by them stays as it is.
bool fits_q8_0(int64_t columns);
Packed quantized_to_q8_0(int64_t rows, int64_t columns, const std::function<Tensor(int64_t, int64_t)>& numbers);

// The first for products, and back.
Int8Matrix in_tiles(const Packed& rows);
Packed in_rows(const Int8Matrix& matrix);

// y = x M^T + bias, or gelu_tanh of that: x [n, columns] is rounded to 8 bits as well, with a scale for each row.
void multiply(const Int8Matrix& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y,
              bool gelu_tanh);

}  // namespace eav
