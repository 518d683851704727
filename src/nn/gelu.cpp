#include "nn/gelu.h"

#include <ATen/Parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/gelu.cpp"
// Targets whose vector length is unknown when compiling have no arrays of vectors; on them the 128-bit target runs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV)
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <numbers>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

void GeluTanh(float* x, int64_t count) {
  const hn::ScalableTag<float> d;
  constexpr int64_t kLanes = hn::MaxLanes(d);
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 88.0f);  // exp(88) is still finite
  // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), with -2u = x * (a + b x^2).
  const double a = -2 * std::sqrt(2 / std::numbers::pi);
  const auto linear = hn::Set(d, static_cast<float>(a)), cubic = hn::Set(d, static_cast<float>(0.044715 * a));
  const auto gelu = [&](hn::Vec<decltype(d)> v) HWY_ATTR {
    const auto exponent = hn::Mul(v, hn::MulAdd(cubic, hn::Mul(v, v), linear));
    return hn::Div(v, hn::Add(one, hn::Exp(d, hn::Min(exponent, most))));
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(gelu(hn::LoadU(d, x + i)), d, x + i);
  if (i == count) return;
  HWY_ALIGN float rest[kLanes] = {};
  std::copy_n(x + i, count - i, rest);
  hn::Store(gelu(hn::Load(d, rest)), d, rest);
  std::copy_n(rest, count - i, x + i);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(GeluTanh);
constexpr int64_t kGrain = 16384;  // elements that a thread takes at least
}  // namespace

void gelu_tanh_row(float* x, int64_t count) { HWY_DYNAMIC_DISPATCH(GeluTanh)(x, count); }

void gelu_tanh_(const at::Tensor& x) {
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || x.dim() != 2 || x.stride(1) != 1) {
    auto result = x;
    at::gelu_(result, "tanh");
    return;
  }
  auto* data = x.mutable_data_ptr<float>();
  const auto channels = x.size(1), stride = x.stride(0);
  at::parallel_for(0, x.size(0), std::max<int64_t>(1, kGrain / channels), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) gelu_tanh_row(data + row * stride, channels);
  });
}

}  // namespace eav
#endif
