// What a kernel's file includes first, after it has set HWY_TARGET_INCLUDE to its own path: Highway, which compiles
// that file once for each instruction set, and ways from memory to vectors of float32 and back.
#include "kernels/targets.h"
// After targets.h.
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#if defined(EAV_KERNELS_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EAV_KERNELS_SIMD_INL_H_
#undef EAV_KERNELS_SIMD_INL_H_
#else
#define EAV_KERNELS_SIMD_INL_H_
#endif

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

// As many elements as D, a tag of floats, has lanes, widened to float32.
template <class D>
HWY_INLINE hn::Vec<D> load(D d, const float* from) {
  return hn::LoadU(d, from);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const c10::BFloat16* from) {
  return hn::PromoteTo(d, hn::LoadU(hn::Rebind<hwy::bfloat16_t, D>(), reinterpret_cast<const hwy::bfloat16_t*>(from)));
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const c10::Half* from) {
  const auto narrow = hn::LoadU(hn::Rebind<hwy::float16_t, D>(), reinterpret_cast<const hwy::float16_t*>(from));
  const auto wide = hn::PromoteTo(d, narrow);
#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  // Emulated conversion takes infinities and NaN for large numbers: give them back the exponent that marks them.
  const hn::RebindToUnsigned<D> words;
  const auto exponent = hn::Set(words, 0x7C00u);
  const auto bits = hn::PromoteTo(words, hn::BitCast(hn::Rebind<uint16_t, D>(), narrow));
  const auto special = hn::Eq(hn::And(bits, exponent), exponent);
  const auto mark = hn::IfThenElseZero(special, hn::Set(words, 0x7F800000u));
  return hn::BitCast(d, hn::Or(hn::BitCast(words, wide), mark));
#else
  return wide;
#endif
}

// The first n lanes, n at least 1, or all where there are no more: others are zero, and are left alone in memory.
template <class T>
HWY_INLINE Vector load_some(const T* from, int64_t n) {
  constexpr int64_t kLanes = hn::MaxLanes(Floats());
  if (n >= kLanes) return load(Floats(), from);
  HWY_ALIGN T lanes[kLanes] = {};
  std::copy_n(from, n, lanes);
  return load(Floats(), lanes);
}

HWY_INLINE void store_some(Vector v, float* to, int64_t n) {
  constexpr int64_t kLanes = hn::MaxLanes(Floats());
  if (n >= kLanes) return hn::StoreU(v, Floats(), to);
  HWY_ALIGN float lanes[kLanes];
  hn::Store(v, Floats(), lanes);
  std::copy_n(lanes, n, to);
}

// The nearest bfloat16, of ties the even one.
HWY_INLINE void store_rounded(Vector v, c10::BFloat16* to) {
  const hn::RebindToUnsigned<Floats> words;
  const hn::Rebind<uint16_t, Floats> halves;
  const auto bits = hn::BitCast(words, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1u));
  const auto rounded = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(words, 0x7FFFu)), odd));
  hn::StoreU(hn::TruncateTo(halves, rounded), halves, reinterpret_cast<uint16_t*>(to));
}

HWY_INLINE void store_some(Vector v, c10::BFloat16* to, int64_t n) {
  constexpr int64_t kLanes = hn::MaxLanes(Floats());
  if (n >= kLanes) return store_rounded(v, to);
  HWY_ALIGN c10::BFloat16 lanes[kLanes];
  store_rounded(v, lanes);
  std::copy_n(lanes, n, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#endif  // EAV_KERNELS_SIMD_INL_H_
