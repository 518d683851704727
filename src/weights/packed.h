// A matrix whose numbers are packed, as its file has them: float8, int8, or blocks of a few bits.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "kernels/packing.h"

namespace eav {
using at::Tensor;

struct Packed {
  Tensor bytes;  // [rows, bytes of a row], uint8; blocks do not reach across rows
  Packing packing;
  std::optional<Tensor> scale = {};  // float32, of all [1] or of each row [rows]: what stands for x holds x / scale
  int64_t rotated = 0;               // rows are rotated in groups of so many elements; 0 where they are not

  int64_t rows() const { return bytes.size(0); }
  int64_t columns() const { return bytes.size(1) / layout_of(packing).bytes * layout_of(packing).elements; }
  // The rows first..first+count-1, which share the memory.
  Packed row_slice(int64_t first, int64_t count) const;
  // The rows of these numbers [n].
  Packed rows_of(const Tensor& numbers) const;
};

// The numbers of all rows, into `to` [rows, columns] of a floating point type: exactly those that the packing says in
// float32, rounded once where `to` is narrower. A kernel on the CPU, ATen's operators elsewhere.
void dequantize(const Packed& packed, const Tensor& to);
// The same as a new tensor.
Tensor dequantized(const Packed& packed, at::ScalarType type);

// The numbers of blocks [n, bytes of a block] -> [n, elements of a block] in float32, with ATen's operators alone.
Tensor unpacked_by_operators(const Tensor& blocks, Packing packing);

// The normalised regular Hadamard matrix of a size that is a power of four: symmetric, and its own inverse (ComfyUI's
// `convrot`). Of twice such a size, sum and difference of two halves that it is applied to. [size, size]
Tensor regular_hadamard(int64_t size, const at::TensorOptions& options);

}  // namespace eav
