#include "nn/qk_norm.h"

#include <ATen/Parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "nn/qk_norm.cpp"
// Targets whose vector length is unknown when compiling cannot tell whether it is at least a pair.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV)
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include <cmath>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Norms one head x [count], and rotates it by its token's angles; cosines and sines are null where it is not rotated.
HWY_INLINE void norm_and_rotate(float* x, int64_t count, const float* weight, double eps, const float* cos,
                                const float* sin) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto size = static_cast<size_t>(count);

  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto v = hn::LoadU(d, x + i);
    sum = hn::MulAdd(v, v, sum);
  }
  double square_sum = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) square_sum += static_cast<double>(x[i]) * x[i];
  const auto scale = static_cast<float>(1 / std::sqrt(square_sum / static_cast<double>(size) + eps));

  i = 0;
  if constexpr (hn::MaxLanes(d) >= 2) {
    const auto factor = hn::Set(d, scale);
    for (; i + lanes <= count; i += lanes) {
      auto v = hn::Mul(hn::Mul(hn::LoadU(d, x + i), factor), hn::LoadU(d, weight + i));
      if (cos != nullptr) {
        const auto turned = hn::Mul(hn::Reverse2(d, v), hn::LoadU(d, sin + i));
        v = hn::MulAdd(v, hn::LoadU(d, cos + i), hn::OddEven(turned, hn::Neg(turned)));
      }
      hn::StoreU(v, d, x + i);
    }
  }
  for (; i < count; i += 2) {
    const float even = x[i] * scale * weight[i], odd = x[i + 1] * scale * weight[i + 1];
    x[i] = cos == nullptr ? even : even * cos[i] - odd * sin[i];
    x[i + 1] = cos == nullptr ? odd : odd * cos[i] + even * sin[i];
  }
}

// All heads of a token.
void NormAndRotate(float* x, int64_t heads, int64_t count, const float* weight, double eps, const float* cos,
                   const float* sin) {
  for (int64_t head = 0; head < heads; ++head) norm_and_rotate(x + head * count, count, weight, eps, cos, sin);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(NormAndRotate);
constexpr int64_t kGrain = 64;  // tokens that a thread takes at least
}  // namespace

void QkNorm::operator()(const Tensor& x, const Rope* rope) const {
  const auto tokens = x.size(1), heads = x.size(2), d = x.size(3);
  if (!x.is_cpu() || x.scalar_type() != at::kFloat || !x.is_contiguous() || d % 2 != 0) {
    x.copy_(norm(x));
    if (rope != nullptr) (*rope)(x.slice(1, 0, rope->cos.size(0)));
    return;
  }
  const auto weight = norm.weight.to(at::kFloat).contiguous();
  const auto* w = weight.const_data_ptr<float>();
  const auto* cos = rope != nullptr ? rope->cos.const_data_ptr<float>() : nullptr;
  const auto* sin = rope != nullptr ? rope->sin.const_data_ptr<float>() : nullptr;
  const auto rotated = rope != nullptr ? rope->cos.size(0) : 0;
  auto* data = x.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0) * tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto token = row % tokens;
      const bool turns = token < rotated;
      HWY_DYNAMIC_DISPATCH(NormAndRotate)
      (data + row * heads * d, heads, d, w, norm.eps, turns ? cos + token * d : nullptr,
       turns ? sin + token * d : nullptr);
    }
  });
}

}  // namespace eav
#endif
