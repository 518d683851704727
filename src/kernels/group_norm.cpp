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

template <class T>
void add_moments(const T* x, const T* origin, int64_t channels, int64_t begin, int64_t end, double* sum,
                 double* square_sum) {
  // Few enough positions for sums in float32 to be exact to its last digits.
  constexpr int64_t kPositions = 64;
  const Floats d;
  const auto padded = static_cast<size_t>((channels + kLanes - 1) / kLanes * kLanes);
  std::vector<float> sums(padded), squares(padded);
  for (int64_t first = begin; first < end; first += kPositions) {
    std::ranges::fill(sums, 0.0f);
    std::ranges::fill(squares, 0.0f);
    for (int64_t p = first; p < std::min(first + kPositions, end); ++p) {
      const T* position = x + p * channels;
      for (int64_t c = 0; c < channels; c += kLanes) {
        const auto v = hn::Sub(load_some(position + c, channels - c), load_some(origin + c, channels - c));
        hn::StoreU(hn::Add(hn::LoadU(d, &sums[c]), v), d, &sums[c]);
        hn::StoreU(hn::MulAdd(v, v, hn::LoadU(d, &squares[c])), d, &squares[c]);
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      sum[c] += static_cast<double>(sums[c]);
      square_sum[c] += static_cast<double>(squares[c]);
    }
  }
}

void AddMoments(const void* x, const void* origin, Element element, int64_t channels, int64_t begin, int64_t end,
                double* sum, double* square_sum) {
  const auto run = [&](auto* from) {
    add_moments(from, static_cast<decltype(from)>(origin), channels, begin, end, sum, square_sum);
  };
  if (element == Element::bfloat16) return run(static_cast<const c10::BFloat16*>(x));
  run(static_cast<const float*>(x));
}

template <class T>
void modulate_rows(const ModulateSilu& task, int64_t first_row, int64_t end_row) {
  const Floats d;
  const auto one = hn::Set(d, 1.0f), most = hn::Set(d, 104.0f);  // hn::Exp of more may be no number
  const auto silu = [&](Vector v) HWY_ATTR { return hn::Div(v, hn::Add(one, hn::Exp(d, hn::Min(hn::Neg(v), most)))); };
  for (int64_t row = first_row; row < end_row; ++row) {
    for (int64_t column = 0; column < task.width; ++column) {
      const auto position = (row * task.width + column) * task.channels;
      const auto rectangle = (row / task.tall * (task.width / task.wide) + column / task.wide) * task.channels;
      const T* x = static_cast<const T*>(task.x) + position;
      const float *scale = task.scale + rectangle, *shift = task.shift + rectangle;
      T* out = static_cast<T*>(task.out) + position;
      for (int64_t c = 0; c < task.channels; c += kLanes) {
        const auto n = task.channels - c;
        store_some(silu(hn::MulAdd(load_some(x + c, n), load_some(scale + c, n), load_some(shift + c, n))), out + c, n);
      }
    }
  }
}

void ModulateRows(const ModulateSilu& task, int64_t first_row, int64_t end_row) {
  if (task.element == Element::bfloat16) return modulate_rows<c10::BFloat16>(task, first_row, end_row);
  modulate_rows<float>(task, first_row, end_row);
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

void add_moments(const void* x, const void* origin, Element element, int64_t channels, int64_t begin, int64_t end,
                 double* sum, double* square_sum) {
  HWY_DYNAMIC_DISPATCH(AddMoments)(x, origin, element, channels, begin, end, sum, square_sum);
}

void modulate_silu(const ModulateSilu& task, int64_t first_row, int64_t end_row) {
  HWY_DYNAMIC_DISPATCH(ModulateRows)(task, first_row, end_row);
}

}  // namespace eav
#endif
