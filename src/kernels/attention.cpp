// As FlashAttention-2 (Dao, 2023, algorithm 1) on the CPU: a tile of queries meets the keys block by block, and keeps
// the largest score, the sum of the exponentials and the weighted values so far. Products are ATen's `brgemm`, which
// takes pairs of bfloat16 rows interleaved: keys and values are brought into that order once for all tiles.
#include "kernels/attention.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <limits>
#include <vector>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());

// 2^x for x from -126 to 0, to 3e-6 of its value.
HWY_INLINE Vector exp2(Vector x) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  // In a number of this size the last bits are the whole part; what is no number stays none.
  const auto shifted = hn::Add(x, hn::Set(d, 12582912.0f));              // 1.5 * 2^23
  const auto f = hn::Sub(x, hn::Sub(shifted, hn::Set(d, 12582912.0f)));  // -1/2 to 1/2
  // The polynomial of this degree, 1 where f is 0, whose largest relative error is least.
  auto power = hn::MulAdd(f, hn::Set(d, 9.58285e-3f), hn::Set(d, 5.590642e-2f));
  power = hn::MulAdd(f, power, hn::Set(d, 2.4024099e-1f));
  power = hn::MulAdd(f, power, hn::Set(d, 6.9312419e-1f));
  power = hn::MulAdd(f, power, hn::Set(d, 1.0f));
  const auto exponent = hn::ShiftLeft<23>(hn::BitCast(integers, shifted));
  return hn::BitCast(d, hn::Add(hn::BitCast(integers, power), exponent));
}

// A row of scores becomes exp2(scores * scale - most) in bfloat16, in the same memory; `most` grows to the largest.
// Columns up to the next whole vector are written, as zeros: those are not among the keys. Returns the sum.
float Exponentials(float* scores, int64_t keys, float scale, float* most) {
  const Floats d;
  const auto whole = keys / kLanes * kLanes;
  auto largest = hn::Set(d, *most), other = largest;
  int64_t i = 0;
  for (; i + 2 * kLanes <= whole; i += 2 * kLanes) {
    largest = hn::Max(largest, hn::Mul(hn::Load(d, scores + i), hn::Set(d, scale)));
    other = hn::Max(other, hn::Mul(hn::Load(d, scores + i + kLanes), hn::Set(d, scale)));
  }
  if (i < whole) largest = hn::Max(largest, hn::Mul(hn::Load(d, scores + i), hn::Set(d, scale)));
  float max = hn::GetLane(hn::MaxOfLanes(d, hn::Max(largest, other)));
  for (i = whole; i < keys; ++i) max = std::max(max, scores[i] * scale);
  *most = max;

  const auto by = hn::Set(d, scale), less = hn::Set(d, -max), least = hn::Set(d, -126.0f);
  // What is no number stays none, which Max() does not promise.
  const auto at_least = [&](Vector v) HWY_ATTR { return hn::IfThenElse(hn::Lt(v, least), least, v); };
  auto sum = hn::Zero(d), other_sum = hn::Zero(d);
  auto* out = reinterpret_cast<c10::BFloat16*>(scores);
  for (i = 0; i + 2 * kLanes <= whole; i += 2 * kLanes) {
    const auto a = exp2(at_least(hn::MulAdd(hn::Load(d, scores + i), by, less)));
    const auto b = exp2(at_least(hn::MulAdd(hn::Load(d, scores + i + kLanes), by, less)));
    sum = hn::Add(sum, a);
    other_sum = hn::Add(other_sum, b);
    store_rounded(a, out + i);
    store_rounded(b, out + i + kLanes);
  }
  sum = hn::Add(sum, other_sum);
  for (; i < keys; i += kLanes) {
    const auto e = exp2(at_least(hn::MulAdd(hn::Load(d, scores + i), by, less)));
    const auto seen = hn::IfThenElseZero(hn::FirstN(d, static_cast<size_t>(std::min(kLanes, keys - i))), e);
    sum = hn::Add(sum, seen);
    store_rounded(seen, out + i);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// x *= factor; x is padded to whole vectors.
void Scale(float* x, int64_t count, float factor) {
  const Floats d;
  for (int64_t i = 0; i < count; i += kLanes) hn::Store(hn::Mul(hn::Load(d, x + i), hn::Set(d, factor)), d, x + i);
}

// to = x * factor in bfloat16; x is padded to whole vectors.
void Finish(const float* x, int64_t count, float factor, c10::BFloat16* to) {
  const Floats d;
  for (int64_t i = 0; i < count; i += kLanes) {
    const auto v = hn::Mul(hn::Load(d, x + i), hn::Set(d, factor));
    if (i + kLanes <= count) {
      store_rounded(v, to + i);
      continue;
    }
    std::array<c10::BFloat16, kLanes> last;
    store_rounded(v, last.data());
    std::copy_n(last.data(), count - i, to + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(Exponentials);
HWY_EXPORT(Scale);
HWY_EXPORT(Finish);

using c10::BFloat16;
constexpr int64_t kTile = 64;     // queries that are computed together
constexpr int64_t kBlock = 512;   // keys that they meet at a time
constexpr int64_t kPadding = 16;  // elements of rows: the longest vector of float32

int64_t padded(int64_t count) { return (count + kPadding - 1) / kPadding * kPadding; }

// How keys and values of a head lie: blocks of kBlock keys, the last one shorter.
struct Packing {
  explicit Packing(const AttentionTask& task)
      : head_size(task.head_size), a_head((task.keys + 1) / 2 * 2 * head_size) {}
  int64_t head_size;
  int64_t a_head;  // elements

  // Keys first..first+count-1: [head_size / 2, count, 2], so that a column is a key.
  void pack_keys(const BFloat16* k, int64_t stride, int64_t count, BFloat16* to) const {
    for (int64_t key = 0; key < count; ++key)
      for (int64_t i = 0; i < head_size; i += 2) std::memcpy(to + (i * count + 2 * key), k + key * stride + i, 4);
  }
  // The same values: [count / 2, head_size, 2], a row a pair of keys; where the last key has no neighbour, zeros.
  void pack_values(const BFloat16* v, int64_t stride, int64_t count, BFloat16* to) const {
    for (int64_t key = 0; key < count; key += 2) {
      const BFloat16 *first = v + key * stride, *second = key + 1 < count ? first + stride : nullptr;
      for (int64_t i = 0; i < head_size; ++i, to += 2) {
        to[0] = first[i];
        to[1] = second ? second[i] : BFloat16(0.0f);
      }
    }
  }
};

// What a thread works with.
struct Scratch {
  explicit Scratch(int64_t head_size)
      : queries(hwy::AllocateAligned<BFloat16>(static_cast<size_t>(kTile * head_size))),
        scores(hwy::AllocateAligned<float>(kTile * kBlock)),
        sums(hwy::AllocateAligned<float>(static_cast<size_t>(kTile * padded(head_size)))) {}
  hwy::AlignedFreeUniquePtr<BFloat16[]> queries;  // [kTile, head_size]
  hwy::AlignedFreeUniquePtr<float[]> scores;      // [kTile, kBlock]
  hwy::AlignedFreeUniquePtr<float[]> sums;        // [kTile, padded head_size], of weighted values
  std::array<float, kTile> most{}, weight{};      // the largest score, times log2(e), and the sum of the exponentials
};

// `count` queries of a head against all of its keys.
void tile(const AttentionTask& task, const BFloat16* q, const BFloat16* k, const BFloat16* v, BFloat16* out,
          int64_t count, Scratch& s) {
  const auto d = task.head_size, row = padded(d);
  const float scale = task.scale * 1.44269504f;
  for (int64_t r = 0; r < count; ++r) std::copy_n(q + r * task.q_strides.token, d, s.queries.get() + r * d);
  std::ranges::fill(s.most, -std::numeric_limits<float>::infinity());
  std::ranges::fill(s.weight, 0.0f);
  for (int64_t first = 0; first < task.keys; first += kBlock) {
    const auto keys = std::min(kBlock, task.keys - first), even = (keys + 1) / 2 * 2;
    at::native::cpublas::brgemm(count, keys, d, d, keys, kBlock, /*add_C=*/false, s.queries.get(), k + first * d,
                                s.scores.get());
    for (int64_t r = 0; r < count; ++r) {
      const auto before = s.most[r];
      const auto sum = HWY_DYNAMIC_DISPATCH(Exponentials)(s.scores.get() + r * kBlock, keys, scale, &s.most[r]);
      const auto shrink = std::exp2(before - s.most[r]);
      s.weight[r] = s.weight[r] * shrink + sum;
      if (first > 0 && shrink != 1.0f) HWY_DYNAMIC_DISPATCH(Scale)(s.sums.get() + r * row, d, shrink);
    }
    at::native::cpublas::brgemm(count, d, even, 2 * kBlock, d, row, /*add_C=*/first > 0,
                                reinterpret_cast<const BFloat16*>(s.scores.get()), v + first * d, s.sums.get());
  }
  for (int64_t r = 0; r < count; ++r)
    HWY_DYNAMIC_DISPATCH(Finish)(s.sums.get() + r * row, d, 1.0f / s.weight[r], out + r * task.out_strides.token);
}

// Calls use(index) for 0..count-1 on all threads, which take the next one when they are ready.
template <class Make, class Use>
void share(int64_t count, const Make& make, const Use& use) {
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), count), 1, [&](int64_t, int64_t) {
    auto scratch = make();
    for (auto i = next.fetch_add(1); i < count; i = next.fetch_add(1)) use(i, scratch);
    at::native::cpublas::brgemm_release();
  });
}

bool try_products() {
  // Odd numbers of everything that may be odd, and whole numbers, so that sums are exact.
  constexpr int64_t m = 3, n = 5, k = 6;
  std::array<BFloat16, m * k> a;
  std::array<BFloat16, k * n> b;
  std::array<float, m * n> c;
  for (int64_t i = 0; i < m * k; ++i) a[static_cast<size_t>(i)] = static_cast<float>(i % 7 - 3);
  const auto value = [](int64_t row, int64_t column) { return static_cast<float>((row * 3 + column) % 11 - 5); };
  for (int64_t r = 0; r < k; ++r)
    for (int64_t col = 0; col < n; ++col) b[static_cast<size_t>((r / 2 * n + col) * 2 + r % 2)] = value(r, col);
  try {
    at::native::cpublas::brgemm(m, n, k, k, n, n, /*add_C=*/false, a.data(), b.data(), c.data());
    at::native::cpublas::brgemm_release();
  } catch (const std::exception&) {
    return false;  // this CPU, or this build of PyTorch, has none
  }
  for (int64_t r = 0; r < m; ++r)
    for (int64_t col = 0; col < n; ++col) {
      float expected = 0;
      for (int64_t i = 0; i < k; ++i) expected += static_cast<float>(a[static_cast<size_t>(r * k + i)]) * value(i, col);
      if (c[static_cast<size_t>(r * n + col)] != expected) return false;
    }
  return true;
}

}  // namespace

bool attention_kernel_works() {
  static const bool works = try_products();
  return works;
}

void attention(const AttentionTask& t) {
  const Packing packing(t);
  const auto key_heads = t.batch * t.heads / t.sharing, of_batch = t.heads / t.sharing;
  const auto size = static_cast<size_t>(key_heads * packing.a_head);
  const auto keys = hwy::AllocateAligned<BFloat16>(size), values = hwy::AllocateAligned<BFloat16>(size);
  const auto blocks = (t.keys + kBlock - 1) / kBlock, tiles = (t.queries + kTile - 1) / kTile;
  const auto at = [](const BFloat16* x, const HeadStrides& strides, int64_t b, int64_t head, int64_t token) {
    return x + b * strides.batch + head * strides.head + token * strides.token;
  };
  share(
      key_heads * blocks, [] { return 0; },
      [&](int64_t i, int) {
        const auto head = i / blocks, first = i % blocks * kBlock, count = std::min(kBlock, t.keys - first);
        const auto b = head / of_batch, h = head % of_batch;
        const auto to = head * packing.a_head + first * t.head_size;
        packing.pack_keys(at(t.k, t.k_strides, b, h, first), t.k_strides.token, count, keys.get() + to);
        packing.pack_values(at(t.v, t.v_strides, b, h, first), t.v_strides.token, count, values.get() + to);
      });
  share(
      t.batch * t.heads * tiles, [&] { return Scratch(t.head_size); },
      [&](int64_t i, Scratch& scratch) {
        const auto b = i / tiles / t.heads, h = i / tiles % t.heads, first = i % tiles * kTile;
        const auto packed = (b * of_batch + h / t.sharing) * packing.a_head;
        auto* out = t.out + b * t.out_strides.batch + h * t.out_strides.head + first * t.out_strides.token;
        tile(t, at(t.q, t.q_strides, b, h, first), keys.get() + packed, values.get() + packed, out,
             std::min(kTile, t.queries - first), scratch);
      });
}

}  // namespace eav
#endif
