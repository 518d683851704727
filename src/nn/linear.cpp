#include "nn/linear.h"

#include "nn/gelu.h"
#include "nn/matmul.h"

namespace eav {
namespace {

constexpr int64_t kLeastRows = 32;  // with fewer, packing the weights costs more than the faster product saves

std::optional<Matmul::Stored> stored_type(const Tensor& weight) {
  if (!weight.is_contiguous() || !weight.is_cpu()) return std::nullopt;
  if (weight.scalar_type() == at::kFloat) return Matmul::Stored::float32;
  if (weight.scalar_type() == at::kBFloat16) return Matmul::Stored::bfloat16;
  if (weight.scalar_type() == at::kHalf) return Matmul::Stored::float16;
  return std::nullopt;
}

// y = finish(x W^T + b) with the kernel; false, and nothing done, where it does not serve.
bool with_kernel(const Linear& linear, const Tensor& x, const Tensor& y, void (*finish)(float*, int64_t)) {
  const auto stored = stored_type(linear.weight);
  const auto rows = y.numel() / linear.weight.size(0);
  if (!stored || !matmul_is_faster() || x.scalar_type() != at::kFloat || rows < kLeastRows) return false;
  const auto input = x.contiguous();
  const auto bias = linear.bias ? linear.bias->to(at::kFloat).contiguous() : Tensor();
  matmul({.rows = rows,
          .in = linear.weight.size(1),
          .out = linear.weight.size(0),
          .x = input.const_data_ptr<float>(),
          .weight = linear.weight.const_data_ptr(),
          .stored = *stored,
          .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
          .y = y.mutable_data_ptr<float>(),
          .finish = finish});
  return true;
}

Tensor empty_result(const Linear& linear, const Tensor& x) {
  auto shape = x.sizes().vec();
  shape.back() = linear.weight.size(0);
  return at::empty(shape, x.options());
}

void with_library(const Linear& linear, const Tensor& x, Tensor& y) {
  const auto weight = linear.weight.to(x.scalar_type());
  auto rows = y.view({-1, weight.size(0)});
  const auto input = x.reshape({-1, weight.size(1)});
  if (linear.bias)
    at::addmm_out(rows, linear.bias->to(x.scalar_type()), input, weight.t());
  else
    at::mm_out(rows, input, weight.t());
}

}  // namespace

void Linear::into(Tensor& y, const Tensor& x) const {
  if (!with_kernel(*this, x, y, nullptr)) with_library(*this, x, y);
}

Tensor Linear::operator()(const Tensor& x) const {
  auto y = empty_result(*this, x);
  into(y, x);
  return y;
}

Tensor Linear::gelu_tanh(const Tensor& x) const {
  auto y = empty_result(*this, x);
  if (with_kernel(*this, x, y, gelu_tanh_row)) return y;
  with_library(*this, x, y);
  gelu_tanh_(y);
  return y;
}

}  // namespace eav
