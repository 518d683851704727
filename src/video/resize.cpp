#include "video/resize.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace eav {
namespace {

constexpr int kBits = 22;  // after the point of a weight

double weight(Filter filter, double x) {
  x = std::abs(x);
  if (filter == Filter::bicubic) {
    constexpr double a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
  }
  const auto sinc = [](double x) { return x == 0 ? 1 : std::sin(x * std::numbers::pi) / (x * std::numbers::pi); };
  return x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

// What one position of the result takes: weights of the positions from `first` on, which sum to 1 << kBits or nearly.
struct Taps {
  int64_t first;
  std::vector<int32_t> weights;
};

std::vector<Taps> make_taps(int64_t from, int64_t to, Filter filter) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), stretch = std::max(scale, 1.0);
  const double support = (filter == Filter::bicubic ? 2 : 3) * stretch;
  std::vector<Taps> all;
  for (int64_t i = 0; i < to; ++i) {
    const double center = (static_cast<double>(i) + 0.5) * scale;
    const auto rounded = [](double x) { return static_cast<int64_t>(std::floor(x + 0.5)); };
    const auto first = std::max<int64_t>(rounded(center - support), 0);
    const auto last = std::min<int64_t>(rounded(center + support), from);
    std::vector<double> weights;
    double sum = 0;
    for (int64_t j = first; j < last; ++j) {
      weights.push_back(weight(filter, (static_cast<double>(j) - center + 0.5) * (1 / stretch)));
      sum += weights.back();
    }
    auto& taps = all.emplace_back(Taps{first, {}});
    for (const double w : weights) {
      const double scaled = w / sum * (1 << kBits);
      taps.weights.push_back(static_cast<int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return all;
}

// x [outer, n, inner] -> [outer, to, inner]
at::Tensor resample(const at::Tensor& x, int64_t to, Filter filter) {
  const auto n = x.size(1), inner = x.size(2);
  const auto taps = make_taps(n, to, filter);
  const auto y = at::empty({x.size(0), to, inner}, x.options());
  at::parallel_for(0, x.size(0) * to, 1, [&](int64_t begin, int64_t end) {
    std::vector<int32_t> sums(static_cast<size_t>(inner));
    for (auto row = begin; row < end; ++row) {
      const auto& [first, weights] = taps[static_cast<size_t>(row % to)];
      const auto* in = x.const_data_ptr<uint8_t>() + (row / to * n + first) * inner;
      std::ranges::fill(sums, 1 << (kBits - 1));
      for (const int32_t w : weights)
        for (auto& sum : sums) sum += w * *in++;
      auto* out = y.data_ptr<uint8_t>() + row * inner;
      for (const int32_t sum : sums) *out++ = static_cast<uint8_t>(std::clamp(sum >> kBits, 0, 255));
    }
  });
  return y;
}

}  // namespace

at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width, Filter filter) {
  if (frames.is_meta()) return at::empty({frames.size(0), height, width, frames.size(3)}, frames.options());
  auto x = frames.contiguous();  // [F, H, W, C]
  const auto shrinks_by = x.size(1) - height;
  const bool height_first = shrinks_by > 0 && shrinks_by > 2 * (x.size(2) - width);
  const auto resize_width = [&] {
    if (x.size(2) != width) x = resample(x.flatten(0, 1), width, filter).unflatten(0, {x.size(0), x.size(1)});
  };
  const auto resize_height = [&] {
    if (x.size(1) != height) x = resample(x.flatten(2), height, filter).unflatten(2, {x.size(2), x.size(3)});
  };
  if (!height_first) resize_width();
  resize_height();
  if (height_first) resize_width();
  return x;
}

}  // namespace eav
