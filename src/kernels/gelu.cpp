#include "kernels/gelu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gelu.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>
#include <numbers>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

void GeluTanh(float* x, int64_t count) {
  const Floats d;
  constexpr int64_t kLanes = hn::MaxLanes(d);
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 88.0f);  // exp(88) is still finite
  // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), with -2u = x * (a + b x^2).
  const double a = -2 * std::sqrt(2 / std::numbers::pi);
  const auto linear = hn::Set(d, static_cast<float>(a)), cubic = hn::Set(d, static_cast<float>(0.044715 * a));
  const auto gelu = [&](Vector v) HWY_ATTR {
    const auto exponent = hn::Mul(v, hn::MulAdd(cubic, hn::Mul(v, v), linear));
    return hn::Div(v, hn::Add(one, hn::Exp(d, hn::Min(exponent, most))));
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(gelu(hn::LoadU(d, x + i)), d, x + i);
  if (i < count) store_some(gelu(load_some(x + i, count - i)), x + i, count - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(GeluTanh);
}  // namespace

void gelu_tanh_row(float* x, int64_t count) { HWY_DYNAMIC_DISPATCH(GeluTanh)(x, count); }

}  // namespace eav
#endif
