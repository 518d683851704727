// The matrix behind a linear layer or an embedding, as a checkpoint stores it. How that is, nobody outside knows.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "weights/int8.h"
#include "weights/patches.h"
#include "weights/weights.h"

namespace eav {

// Stored in a floating point type, or packed: then it stays so, and a few rows at a time are made numbers. What LoRAs
// add is in the numbers, and beside a packed matrix a product of its own. Where the cursor quantises, it is rounded
// from what is stored, a few rows at a time, with what LoRAs add.
class Matrix {
 public:
  // The tensor "weight", [rows, columns].
  Matrix(const Weights& w, int64_t rows, int64_t columns) : Matrix(of_patches(w, {rows, columns})) {}

  // The kernel of a convolution over patches that do not overlap: its shape is [rows, ...], a row for each output, and
  // columns for all numbers of a patch.
  static Matrix of_patches(const Weights& w, const std::vector<int64_t>& shape);

  // The rows first..first+count-1 of the tensor "weight" [rows, columns]: of several that are stored as one.
  static Matrix of_rows(const Weights& w, int64_t rows, int64_t columns, int64_t first, int64_t count);

  int64_t rows() const { return int8() ? int8()->rows : packed() ? packed()->rows() : numbers().size(0); }
  int64_t columns() const { return int8() ? int8()->columns : packed() ? packed()->columns() : numbers().size(1); }
  at::Device device() const {
    return int8() ? int8()->tiles.device() : packed() ? packed()->bytes.device() : numbers().device();
  }

  // The rows first..first+count-1, which share this matrix's memory.
  Matrix row_slice(int64_t first, int64_t count) const;

  // What is done to a product while it is still in the cache.
  enum class Then { kNothing, kGeluTanh };
  // y = x M^T + bias, in x's type: x [n, columns]; y [n, rows], whose rows may be parts of longer ones. A matrix stored
  // in another type (a 16-bit checkpoint on a CPU that computes in float32), or packed, is converted a few rows at a
  // time.
  void multiply(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then = Then::kNothing) const;

  // The rows of these numbers, in `type`: ids [...] on any device -> [..., columns].
  Tensor look_up(const Tensor& ids, at::ScalarType type) const;

  // The whole as a tensor [rows, columns] in `type`, for operations that are not among the above.
  Tensor dense(at::ScalarType type) const;

 private:
  using Stored = std::variant<Tensor, Packed, Int8Matrix>;  // numbers [rows, columns], packed ones, or quantised ones
  explicit Matrix(Stored stored) : stored_(std::move(stored)) {}
  static Matrix quantised(const Weights& w, const std::vector<int64_t>& shape, int64_t first, int64_t count);
  void multiply_stored(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then) const;

  const Int8Matrix* int8() const { return std::get_if<Int8Matrix>(&stored_); }
  const Packed* packed() const { return std::get_if<Packed>(&stored_); }
  const Tensor& numbers() const { return std::get<Tensor>(stored_); }

  Stored stored_;
  std::vector<Patch> added_;  // to a packed matrix
};

}  // namespace eav
