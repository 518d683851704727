#include "nn/linear.h"

#include "kernels/gelu.h"
#include "kernels/matmul.h"
#include "nn/gelu.h"

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
  if (!stored || !matmul_is_faster() || x.scalar_type() != at::kFloat || x.size(0) < kLeastRows || y.stride(1) != 1)
    return false;
  const auto input = x.contiguous();
  const auto bias = linear.bias ? linear.bias->to(at::kFloat).contiguous() : Tensor();
  matmul({.rows = x.size(0),
          .in = linear.weight.size(1),
          .out = linear.weight.size(0),
          .x = input.const_data_ptr<float>(),
          .weight = linear.weight.const_data_ptr(),
          .stored = *stored,
          .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
          .y = y.mutable_data_ptr<float>(),
          .y_stride = y.stride(0),
          .finish = finish});
  return true;
}

void with_library(const Linear& linear, const Tensor& x, Tensor y) {
  const auto weight = linear.weight.to(x.scalar_type());
  if (linear.bias)
    at::addmm_out(y, linear.bias->to(x.scalar_type()), x, weight.t());
  else
    at::mm_out(y, x, weight.t());
}

// Lets `into` fill a result for x [..., in] -> [..., out].
template <class Into>
Tensor filled(const Linear& linear, const Tensor& x, Into into) {
  auto shape = x.sizes().vec();
  shape.back() = linear.weight.size(0);
  auto y = at::empty(shape, x.options());
  into(y.view({-1, shape.back()}), x.reshape({-1, linear.weight.size(1)}));
  return y;
}

}  // namespace

void Linear::into(const Tensor& y, const Tensor& x) const {
  if (!with_kernel(*this, x, y, nullptr)) with_library(*this, x, y);
}

void Linear::gelu_tanh_into(const Tensor& y, const Tensor& x) const {
  if (with_kernel(*this, x, y, gelu_tanh_row)) return;
  with_library(*this, x, y);
  gelu_tanh_(y);
}

Tensor Linear::operator()(const Tensor& x) const {
  return filled(*this, x, [&](const Tensor& y, const Tensor& rows) { into(y, rows); });
}

Tensor Linear::gelu_tanh(const Tensor& x) const {
  return filled(*this, x, [&](const Tensor& y, const Tensor& rows) { gelu_tanh_into(y, rows); });
}

}  // namespace eav
