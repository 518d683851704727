// Rows of as many numbers as a vector has lanes become columns, in registers.

#if defined(EAV_KERNELS_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EAV_KERNELS_TRANSPOSE_INL_H_
#undef EAV_KERNELS_TRANSPOSE_INL_H_
#else
#define EAV_KERNELS_TRANSPOSE_INL_H_
#endif

#include <cstddef>

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

// Element j of row i becomes element i of row j.
HWY_INLINE void transpose([[maybe_unused]] Vector (&rows)[hn::MaxLanes(Floats())]) {
#if HWY_TARGET != HWY_SCALAR
  const Floats d;
  const hn::Repartition<double, Floats> pairs;
  constexpr size_t kSide = hn::MaxLanes(Floats()), kBlocks = kSide / 4;  // a block: 128 bits
  // Four by four within the blocks: block j of vector 4g + i has element 4j + i of the rows from 4g on.
  HWY_UNROLL(4)
  for (size_t g = 0; g < kSide; g += 4) {
    const auto interleaved = [&](size_t a, size_t b, bool upper) HWY_ATTR {
      return hn::BitCast(pairs, upper ? hn::InterleaveUpper(d, rows[g + a], rows[g + b])
                                      : hn::InterleaveLower(d, rows[g + a], rows[g + b]));
    };
    const auto ab = interleaved(0, 1, false), cd = interleaved(2, 3, false);
    const auto ab_upper = interleaved(0, 1, true), cd_upper = interleaved(2, 3, true);
    rows[g] = hn::BitCast(d, hn::InterleaveLower(pairs, ab, cd));
    rows[g + 1] = hn::BitCast(d, hn::InterleaveUpper(pairs, ab, cd));
    rows[g + 2] = hn::BitCast(d, hn::InterleaveLower(pairs, ab_upper, cd_upper));
    rows[g + 3] = hn::BitCast(d, hn::InterleaveUpper(pairs, ab_upper, cd_upper));
  }
  // Then the blocks themselves.
  HWY_UNROLL(4)
  for (size_t i = 0; i < 4; ++i) {
    if constexpr (kBlocks == 2) {
      const auto a = rows[i], b = rows[4 + i];
      rows[i] = hn::ConcatLowerLower(d, b, a);
      rows[4 + i] = hn::ConcatUpperUpper(d, b, a);
    } else if constexpr (kBlocks == 4) {
      const auto mixed = [&](Vector ac, Vector bd, size_t first) HWY_ATTR {  // blocks a0 a1 c0 c1 and b0 b1 d0 d1
        rows[first + i] = hn::OddEvenBlocks(hn::SwapAdjacentBlocks(bd), ac);
        rows[first + 4 + i] = hn::OddEvenBlocks(bd, hn::SwapAdjacentBlocks(ac));
      };
      const auto a = rows[i], b = rows[4 + i], c = rows[8 + i], e = rows[12 + i];
      mixed(hn::ConcatLowerLower(d, c, a), hn::ConcatLowerLower(d, e, b), 0);
      mixed(hn::ConcatUpperUpper(d, c, a), hn::ConcatUpperUpper(d, e, b), 8);
    }
  }
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#endif  // EAV_KERNELS_TRANSPOSE_INL_H_
