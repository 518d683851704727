#include "kernels/group_norm.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/group_norm.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/contrib/math/math-inl.h>

#include <algorithm>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());

void AddMoments(const float* x, const float* origin, int64_t channels, int64_t begin, int64_t end, double* sum,
                double* square_sum) {
  // Few enough positions for sums in float32 to be exact to its last digits.
  constexpr int64_t kPositions = 64;
  const Floats d;
  std::vector<float> sums(channels), squares(channels);
  for (int64_t first = begin; first < end; first += kPositions) {
    std::ranges::fill(sums, 0.0f);
    std::ranges::fill(squares, 0.0f);
    for (int64_t p = first; p < std::min(first + kPositions, end); ++p) {
      const float* position = x + p * channels;
      int64_t c = 0;
      for (; c + kLanes <= channels; c += kLanes) {
        const auto v = hn::Sub(hn::LoadU(d, position + c), hn::LoadU(d, origin + c));
        hn::StoreU(hn::Add(hn::LoadU(d, &sums[c]), v), d, &sums[c]);
        hn::StoreU(hn::MulAdd(v, v, hn::LoadU(d, &squares[c])), d, &squares[c]);
      }
      for (; c < channels; ++c) {
        const float v = position[c] - origin[c];
        sums[c] += v;
        squares[c] += v * v;
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      sum[c] += static_cast<double>(sums[c]);
      square_sum[c] += static_cast<double>(squares[c]);
    }
  }
}

void ModulateRows(const ModulateSilu& task, int64_t first_row, int64_t end_row) {
  const Floats d;
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 104.0f);  // hn::Exp of more may be no number
  const auto silu = [&](Vector v) HWY_ATTR { return hn::Div(v, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(v), most)))); };
  for (int64_t row = first_row; row < end_row; ++row) {
    for (int64_t column = 0; column < task.width; ++column) {
      const auto position = (row * task.width + column) * task.channels;
      const auto rectangle = (row / task.tall * (task.width / task.wide) + column / task.wide) * task.channels;
      const float *x = task.x + position, *scale = task.scale + rectangle, *shift = task.shift + rectangle;
      float* out = task.out + position;
      int64_t c = 0;
      for (; c + kLanes <= task.channels; c += kLanes)
        hn::StoreU(silu(hn::MulAdd(hn::LoadU(d, x + c), hn::LoadU(d, scale + c), hn::LoadU(d, shift + c))), d, out + c);
      if (c == task.channels) continue;
      HWY_ALIGN float rest[kLanes] = {};
      for (int64_t i = 0; c + i < task.channels; ++i) rest[i] = x[c + i] * scale[c + i] + shift[c + i];
      store_some(silu(hn::Load(d, rest)), out + c, task.channels - c);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(AddMoments);
HWY_EXPORT(ModulateRows);
}  // namespace

void add_moments(const float* x, const float* origin, int64_t channels, int64_t begin, int64_t end, double* sum,
                 double* square_sum) {
  HWY_DYNAMIC_DISPATCH(AddMoments)(x, origin, channels, begin, end, sum, square_sum);
}

void modulate_silu(const ModulateSilu& task, int64_t first_row, int64_t end_row) {
  HWY_DYNAMIC_DISPATCH(ModulateRows)(task, first_row, end_row);
}

}  // namespace eav
#endif
