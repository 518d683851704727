#include "weights/matrix.h"

#include "base/meta_memory.h"
#include "kernels/element.h"
#include "kernels/gelu.h"
#include "kernels/matmul.h"
#include "weights/gelu.h"

namespace eav {
namespace {

constexpr int64_t kLeastRows = 32;  // of x; with fewer, packing the matrix costs more than the faster product saves

// y = finish(x M^T + b) with the kernel; false, and nothing done, where it does not serve.
bool with_kernel(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y,
                 void (*finish)(float*, int64_t)) {
  const auto stored = element_of(matrix.scalar_type());
  if (!stored || !is_for_cpu(matrix) || !matrix.is_contiguous() || !matmul_is_faster() ||
      x.scalar_type() != at::kFloat || x.size(0) < kLeastRows || y.stride(1) != 1)
    return false;
  const auto input = x.contiguous();
  const auto b = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  if (y.is_meta()) return true;
  matmul({.rows = x.size(0),
          .in = matrix.size(1),
          .out = matrix.size(0),
          .x = input.const_data_ptr<float>(),
          .weight = matrix.const_data_ptr(),
          .stored = *stored,
          .bias = b.defined() ? b.const_data_ptr<float>() : nullptr,
          .y = y.mutable_data_ptr<float>(),
          .y_stride = y.stride(0),
          .finish = finish});
  return true;
}

void with_library(const Tensor& matrix, const Tensor& x, const std::optional<Tensor>& bias, Tensor y) {
  const auto m = matrix.to(x.scalar_type());
  const bool packs = y.is_meta() && x.scalar_type() != at::kFloat;  // oneDNN, in 16-bit arithmetic
  const auto packed = packs ? at::empty_like(m) : Tensor();
  if (bias)
    at::addmm_out(y, bias->to(x.scalar_type()), x, m.t());
  else
    at::mm_out(y, x, m.t());
}

}  // namespace

void Matrix::multiply(const Tensor& x, const std::optional<Tensor>& bias, const Tensor& y, Then then) const {
  const bool gelu = then == Then::kGeluTanh;
  if (with_kernel(stored_, x, bias, y, gelu ? gelu_tanh_row : nullptr)) return;
  with_library(stored_, x, bias, y);
  if (gelu) gelu_tanh_(y);
}

Tensor Matrix::look_up(const Tensor& ids, at::ScalarType type) const {
  if (stored_.is_meta()) {
    auto shape = ids.sizes().vec();
    shape.push_back(columns());
    return at::empty(shape, stored_.options()).to(type);
  }
  return at::embedding(stored_, ids.to(stored_.device())).to(type);
}

}  // namespace eav
