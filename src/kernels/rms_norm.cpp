#include "kernels/rms_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/rms_norm.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/contrib/math/math-inl.h>

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());

template <class T>
void norm_positions(const RmsNormSiluTask& task, int64_t begin, int64_t end) {
  const Floats d;
  const auto n = task.channels;
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 104.0f);  // hn::Exp of more may be no number
  const auto silu = [&](Vector v) HWY_ATTR { return hn::Div(v, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(v), most)))); };
  for (int64_t position = begin; position < end; ++position) {
    const T* x = static_cast<const T*>(task.x) + position * n;
    T* out = static_cast<T*>(task.out) + position * n;
    auto sum = hn::Zero(d), other_sum = hn::Zero(d);
    int64_t c = 0;
    for (; c + 2 * kLanes <= n; c += 2 * kLanes) {
      const auto v = load(d, x + c), other = load(d, x + c + kLanes);
      sum = hn::MulAdd(v, v, sum);
      other_sum = hn::MulAdd(other, other, other_sum);
    }
    for (; c < n; c += kLanes) {
      const auto v = load_some(x + c, n - c);
      sum = hn::MulAdd(v, v, sum);
    }
    const auto square = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum, other_sum))) / static_cast<float>(n);
    const auto inverse = hn::Set(d, 1.0f / std::sqrt(square + task.eps));
    for (c = 0; c < n; c += kLanes) {
      const auto v = hn::Mul(hn::Mul(load_some(x + c, n - c), inverse), load_some(task.weight + c, n - c));
      store_some(silu(v), out + c, n - c);
    }
  }
}

void NormPositions(const RmsNormSiluTask& task, int64_t begin, int64_t end) {
  if (task.element == Element::bfloat16) return norm_positions<c10::BFloat16>(task, begin, end);
  norm_positions<float>(task, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(NormPositions);
}  // namespace

void rms_norm_silu(const RmsNormSiluTask& task, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(NormPositions)(task, begin, end);
}

}  // namespace eav
#endif
