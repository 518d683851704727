#include "kernels/quantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/quantize.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <c10/util/Float8_e4m3fn.h>

#include <array>
#include <cmath>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kGroup = 32;  // elements that share a scale
constexpr int64_t kGroups = 8;  // of a block of q4_k
constexpr float kMostQuant = 15, kMostScale = 63;

// Rounds to what a float16 holds, as which it is stored.
HWY_INLINE float store_half(float value, uint8_t* to) {
  const c10::Half half(value);
  std::memcpy(to, &half.x, sizeof half.x);
  return static_cast<float>(half);
}

HWY_INLINE void q8_0(const float* x, uint8_t* to) {
  float most = 0;
  for (int64_t i = 0; i < kGroup; ++i) most = std::max(most, std::fabs(x[i]));
  const float d = most / 127, inverse = d == 0 ? 0 : 1 / d;
  store_half(d, to);
  for (int64_t i = 0; i < kGroup; ++i)
    to[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(std::round(x[i] * inverse)));
}

// A group's numbers are scale * quant - offset.
struct Line {
  float scale = 0, offset = 0;
};

HWY_INLINE Vector quants_of(Vector x, const Line& line, float inverse) {
  const Floats d;
  const auto shifted = hn::Mul(hn::Add(x, hn::Set(d, line.offset)), hn::Set(d, inverse));
  return hn::Min(hn::Max(hn::Round(shifted), hn::Zero(d)), hn::Set(d, kMostQuant));
}

HWY_INLINE float sum(Vector v) { return hn::GetLane(hn::SumOfLanes(Floats(), v)); }

// The line of least squares through x for the quants that `tried` gives them; its squared error.
HWY_INLINE float fit(const float* x, const Line& tried, Line& fitted) {
  const Floats d;
  auto q_sum = hn::Zero(d), qq_sum = hn::Zero(d), x_sum = hn::Zero(d), qx_sum = hn::Zero(d), xx_sum = hn::Zero(d);
  const float inverse = 1 / tried.scale;
  for (int64_t i = 0; i < kGroup; i += kLanes) {
    const auto v = hn::LoadU(d, x + i), q = quants_of(v, tried, inverse);
    q_sum = hn::Add(q_sum, q);
    qq_sum = hn::MulAdd(q, q, qq_sum);
    x_sum = hn::Add(x_sum, v);
    qx_sum = hn::MulAdd(q, v, qx_sum);
    xx_sum = hn::MulAdd(v, v, xx_sum);
  }
  const float n = kGroup, q = sum(q_sum), qq = sum(qq_sum), s = sum(x_sum), qx = sum(qx_sum), xx = sum(xx_sum);
  const float determinant = n * qq - q * q;
  fitted = tried;
  if (determinant > 0) {
    fitted.scale = (n * qx - q * s) / determinant;
    fitted.offset = (q * qx - qq * s) / determinant;
    if (fitted.offset < 0) fitted = {qq > 0 ? qx / qq : 0, 0};  // offsets are stored without a sign
  }
  const auto [a, b] = fitted;
  return xx - 2 * a * qx + 2 * b * s + a * a * qq - 2 * a * b * q + n * b * b;
}

HWY_INLINE Line best_line(const float* x) {
  float least = 0, most = x[0];
  for (int64_t i = 0; i < kGroup; ++i) {
    least = std::min(least, x[i]);
    most = std::max(most, x[i]);
  }
  if (most <= least) return {0, -least};
  Line best{(most - least) / kMostQuant, -least};
  auto best_error = std::numeric_limits<float>::infinity();
  for (int step = -10; step <= 20; ++step) {  // with some clipped, or the range not filled
    Line fitted;
    const float error = fit(x, {(most - least) / (kMostQuant + 0.1f * static_cast<float>(step)), -least}, fitted);
    if (error < best_error && fitted.scale > 0) best = fitted, best_error = error;
  }
  return best;
}

HWY_INLINE void q4_k(const float* x, uint8_t* to) {
  std::array<Line, kGroups> lines;
  float scale = 0, offset = 0;
  for (int64_t g = 0; g < kGroups; ++g) {
    lines[g] = best_line(x + g * kGroup);
    scale = std::max(scale, lines[g].scale);
    offset = std::max(offset, lines[g].offset);
  }
  const float d = store_half(scale / kMostScale, to), least_d = store_half(offset / kMostScale, to + 2);
  const auto six_bits = [](float value, float unit) {
    return unit > 0 ? static_cast<int>(std::min(std::round(value / unit), kMostScale)) : 0;
  };
  std::memset(to + 4, 0, 12);
  alignas(64) float quants[kGroup * kGroups];
  for (int64_t g = 0; g < kGroups; ++g) {
    const int s = six_bits(lines[g].scale, d), m = six_bits(lines[g].offset, least_d);
    if (g < 4) {
      to[4 + g] |= static_cast<uint8_t>(s);
      to[8 + g] |= static_cast<uint8_t>(m);
    } else {
      to[8 + g] = static_cast<uint8_t>((s & 15) | (m & 15) << 4);
      to[g] |= static_cast<uint8_t>((s >> 4) << 6);
      to[4 + g] |= static_cast<uint8_t>((m >> 4) << 6);
    }
    const Line stored{d * static_cast<float>(s), least_d * static_cast<float>(m)};
    const float inverse = stored.scale > 0 ? 1 / stored.scale : 0;
    for (int64_t i = g * kGroup; i < (g + 1) * kGroup; i += kLanes)
      hn::StoreU(quants_of(hn::LoadU(Floats(), x + i), stored, inverse), Floats(), quants + i);
  }
  for (int64_t i = 0; i < 128; ++i) {
    const auto* pair = quants + i / kGroup * 64 + i % kGroup;
    to[16 + i] = static_cast<uint8_t>(static_cast<int>(pair[0]) | static_cast<int>(pair[kGroup]) << 4);
  }
}

void Pack(Packing packing, const float* from, int64_t blocks, uint8_t* to) {
  const auto& layout = layout_of(packing);
  for (int64_t i = 0; i < blocks; ++i, from += layout.elements, to += layout.bytes) {
    if (packing == Packing::q8_0)
      q8_0(from, to);
    else if (packing == Packing::q4_k)
      q4_k(from, to);
    else
      *to = c10::Float8_e4m3fn(std::clamp(*from, -448.0f, 448.0f)).x;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(Pack);
}  // namespace

void quantize(Packing packing, const float* from, int64_t blocks, uint8_t* to) {
  HWY_DYNAMIC_DISPATCH(Pack)(packing, from, blocks, to);
}

}  // namespace eav
#endif
