// The Gaussian error linear unit's tanh approximation of a vector; include it after simd-inl.h.
#if defined(EAV_KERNELS_GELU_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EAV_KERNELS_GELU_INL_H_
#undef EAV_KERNELS_GELU_INL_H_
#else
#define EAV_KERNELS_GELU_INL_H_
#endif

#include <hwy/contrib/math/math-inl.h>

#include <cmath>
#include <numbers>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

// x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2
HWY_INLINE Vector gelu_tanh(Vector x) {
  const Floats d;
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 88.0f);  // exp(88) is still finite
  // (1 + tanh(u)) / 2 = 1 / (1 + exp(-2u)), with -2u = x * (a + b x^2).
  const double a = -2 * std::sqrt(2 / std::numbers::pi);
  const auto linear = hn::Set(d, static_cast<float>(a)), cubic = hn::Set(d, static_cast<float>(0.044715 * a));
  const auto exponent = hn::Mul(x, hn::MulAdd(cubic, hn::Mul(x, x), linear));
  return hn::Div(x, hn::Add(one, hn::Exp(d, hn::Min(exponent, most))));
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#endif  // EAV_KERNELS_GELU_INL_H_
