// The matrix behind a linear layer or an embedding, as a checkpoint stores it. How that is, nobody outside knows.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "weights/weights.h"

namespace eav {

// Stored in a floating point type. A kind of storage that is no tensor of numbers comes in here, behind these
// functions.
class Matrix {
 public:
  // The tensor "weight", [rows, columns].
  Matrix(const Weights& w, int64_t rows, int64_t columns) : stored_(w.load("weight", {rows, columns})) {}

  // The kernel of a convolution over patches that do not overlap: its shape is [rows, ...], a row for each output, and
  // columns for all numbers of a patch.
  static Matrix of_patches(const Weights& w, const std::vector<int64_t>& shape) {
    return Matrix(w.load("weight", shape).flatten(1));
  }

  int64_t rows() const { return stored_.size(0); }
  int64_t columns() const { return stored_.size(1); }
  at::Device device() const { return stored_.device(); }

  // The rows first..first+count-1, which share this matrix's memory.
  Matrix row_slice(int64_t first, int64_t count) const { return Matrix(stored_.narrow(0, first, count)); }

  // What is done to a product while it is still in the cache.
  enum class Then { kNothing, kGeluTanh };
  // y = x M^T + bias, in x's type: x [n, columns]; y [n, rows], whose rows may be parts of longer ones. A matrix stored
  // in another type (a 16-bit checkpoint on a CPU that computes in float32) is converted for this call alone.
  void multiply(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then = Then::kNothing) const;

  // The rows of these numbers, in `type`: ids [...] on any device -> [..., columns].
  Tensor look_up(const Tensor& ids, at::ScalarType type) const;

  // The whole as a tensor [rows, columns] in `type`, for operations that are not among the above.
  Tensor dense(at::ScalarType type) const { return stored_.to(type); }

 private:
  explicit Matrix(Tensor stored) : stored_(std::move(stored)) {}

  Tensor stored_;  // [rows, columns]
};

}  // namespace eav
