#include "kernels/gelu.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gelu.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include "kernels/gelu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

void GeluTanh(float* x, int64_t count) {
  const Floats d;
  constexpr int64_t kLanes = hn::MaxLanes(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(gelu_tanh(hn::LoadU(d, x + i)), d, x + i);
  if (i < count) store_some(gelu_tanh(load_some(x + i, count - i)), x + i, count - i);
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
