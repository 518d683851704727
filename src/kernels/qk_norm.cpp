#include "kernels/qk_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/qk_norm.cpp"
#include <cmath>

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

// 1 / sqrt(mean(x^2) + eps)
template <class T>
HWY_INLINE float inverse_rms(const T* x, int64_t count, double eps) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = load(d, x + i);
    sum = hn::MulAdd(v, v, sum);
  }
  double square_sum = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) square_sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return static_cast<float>(1 / std::sqrt(square_sum / static_cast<double>(count) + eps));
}

// x * scale * weight, turned by as many angles where there are any.
template <class T>
HWY_INLINE void scale_and_rotate(T* x, int64_t count, const float* weight, float scale, const float* cos,
                                 const float* sin) {
  const Floats d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  if constexpr (hn::MaxLanes(d) >= 2) {
    const auto factor = hn::Set(d, scale);
    for (; i + lanes <= count; i += lanes) {
      auto v = hn::Mul(hn::Mul(load(d, x + i), factor), hn::LoadU(d, weight + i));
      if (cos != nullptr) {
        const auto turned = hn::Mul(hn::Reverse2(d, v), hn::LoadU(d, sin + i));
        v = hn::MulAdd(v, hn::LoadU(d, cos + i), hn::OddEven(turned, hn::Neg(turned)));
      }
      store_some(v, x + i, lanes);
    }
  }
  for (; i < count; i += 2) {
    const float even = static_cast<float>(x[i]) * scale * weight[i],
                odd = static_cast<float>(x[i + 1]) * scale * weight[i + 1];
    x[i] = static_cast<T>(cos == nullptr ? even : even * cos[i] - odd * sin[i]);
    x[i + 1] = static_cast<T>(cos == nullptr ? odd : odd * cos[i] + even * sin[i]);
  }
}

template <class T>
void norm_and_rotate_in(T* x, int64_t heads, int64_t count, const float* weight, double eps, const Turns& turns) {
  const auto part = turns.cos == nullptr ? count : turns.count;
  for (int64_t head = 0; head < heads; ++head, x += count) {
    const auto scale = inverse_rms(x, count, eps);
    for (int64_t i = 0; i < count; i += part) scale_and_rotate(x + i, part, weight + i, scale, turns.cos, turns.sin);
  }
}

void NormAndRotate(void* x, Element element, int64_t heads, int64_t count, const float* weight, double eps,
                   const Turns& turns) {
  if (element == Element::float32) return norm_and_rotate_in(static_cast<float*>(x), heads, count, weight, eps, turns);
  norm_and_rotate_in(static_cast<c10::BFloat16*>(x), heads, count, weight, eps, turns);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(NormAndRotate);
}  // namespace

void norm_and_rotate(void* x, Element element, int64_t heads, int64_t count, const float* weight, double eps,
                     const Turns& turns) {
  HWY_DYNAMIC_DISPATCH(NormAndRotate)(x, element, heads, count, weight, eps, turns);
}

}  // namespace eav
#endif
