// The CFI kernel, written once and compiled for every instruction set.
//
// One position of one head has `frames` query rows against as many key rows. The keys are widened to float32 in a
// scratch tile; then a group of query rows, as many as a vector has lanes, is taken at a time, so that each lane walks
// along one softmax row and no row is reduced across lanes. The scores of one group are all that is kept of the map.

#if defined(EAV_ENHANCE_CFI_KERNEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EAV_ENHANCE_CFI_KERNEL_INL_H_
#undef EAV_ENHANCE_CFI_KERNEL_INL_H_
#else
#define EAV_ENHANCE_CFI_KERNEL_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "enhance/cfi_kernel.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Vector = hn::Vec<Floats>;

constexpr size_t kLanes = hn::MaxLanes(Floats());
constexpr size_t kGroup = std::max<size_t>(kLanes, 4);  // query rows taken at a time

// ---- rows into float32 -------------------------------------------------------------------------------------------

HWY_INLINE Vector load_wide(const float* from) { return hn::LoadU(Floats(), from); }

HWY_INLINE Vector load_wide(const hwy::bfloat16_t* from) {
  return hn::PromoteTo(Floats(), hn::LoadU(hn::Rebind<hwy::bfloat16_t, Floats>(), from));
}

HWY_INLINE Vector load_wide(const hwy::float16_t* from) {
  const hn::Rebind<hwy::float16_t, Floats> halves;
  const auto narrow = hn::LoadU(halves, from);
  const auto wide = hn::PromoteTo(Floats(), narrow);
#if HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3 || HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR
  // Emulated conversion takes infinities and NaN for large numbers: give them back the exponent that marks them.
  const hn::RebindToUnsigned<Floats> words;
  const auto exponent = hn::Set(words, 0x7C00u);
  const auto bits = hn::PromoteTo(words, hn::BitCast(hn::Rebind<uint16_t, Floats>(), narrow));
  const auto special = hn::Eq(hn::And(bits, exponent), exponent);
  const auto mark = hn::IfThenElseZero(special, hn::Set(words, 0x7F800000u));
  return hn::BitCast(Floats(), hn::Or(hn::BitCast(words, wide), mark));
#else
  return wide;
#endif
}

// Copies a row of `dim` elements and fills it with zeros up to `width`, a multiple of the lanes.
template <typename T>
HWY_INLINE void widen_row(const T* from, size_t dim, float* to, size_t width) {
  const Floats floats;
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) hn::Store(load_wide(from + i), floats, to + i);
  if (i < width) {
    T rest[kLanes] = {};
    std::memcpy(rest, from + i, (dim - i) * sizeof(T));
    hn::Store(load_wide(rest), floats, to + i);
  }
}

constexpr size_t kCacheLine = 64;

template <typename T>
HWY_INLINE void prefetch_row(const T* row, size_t dim) {
  for (size_t byte = 0; byte < dim * sizeof(T); byte += kCacheLine) {
    hwy::Prefetch(reinterpret_cast<const char*>(row) + byte);
  }
}

// ---- scores ------------------------------------------------------------------------------------------------------

#if HWY_TARGET != HWY_SCALAR
// Sums the 128-bit blocks of a vector.
template <class D>
HWY_INLINE hn::Vec<hn::FixedTag<float, 4>> sum_blocks(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return sum_blocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}
#endif

// Stores the sums over the lanes of four vectors, in order.
HWY_INLINE void store_sums(Vector a, Vector b, Vector c, Vector d, float* to) {
  const Floats floats;
#if HWY_TARGET == HWY_SCALAR
  size_t i = 0;
  for (const auto& v : {a, b, c, d}) hn::Store(v, floats, to + i++);
#else
  const hn::Repartition<uint64_t, Floats> pairs;
  const auto ab = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(floats, a, b), hn::InterleaveUpper(floats, a, b)));
  const auto cd = hn::BitCast(pairs, hn::Add(hn::InterleaveLower(floats, c, d), hn::InterleaveUpper(floats, c, d)));
  const auto lower = hn::BitCast(floats, hn::InterleaveLower(pairs, ab, cd));
  const auto upper = hn::BitCast(floats, hn::InterleaveUpper(pairs, ab, cd));
  hn::Store(sum_blocks(floats, hn::Add(lower, upper)), hn::FixedTag<float, 4>(), to);
#endif
}

// Dot products of four rows with each of kOthers others; those of one other lie next to each other, and `stride` apart
// from the next's. The sums of 4 * 3 products, three others and one row fill 16 registers.
template <size_t kOthers>
HWY_INLINE void dot_four_rows(const float* HWY_RESTRICT rows, const float* HWY_RESTRICT others, size_t width,
                              float* HWY_RESTRICT dots, size_t stride) {
  const Floats floats;
  Vector sum[kOthers][4];
  for (size_t o = 0; o < kOthers; ++o) {
    for (size_t r = 0; r < 4; ++r) sum[o][r] = hn::Zero(floats);
  }
  for (size_t i = 0; i < width; i += kLanes) {
    Vector other[kOthers];
    for (size_t o = 0; o < kOthers; ++o) other[o] = hn::Load(floats, others + o * width + i);
    for (size_t r = 0; r < 4; ++r) {
      const auto row = hn::Load(floats, rows + r * width + i);
      for (size_t o = 0; o < kOthers; ++o) sum[o][r] = hn::MulAdd(row, other[o], sum[o][r]);
    }
  }
  for (size_t o = 0; o < kOthers; ++o) store_sums(sum[o][0], sum[o][1], sum[o][2], sum[o][3], dots + o * stride);
}

// Scores of kQueries query rows, fewer than four, against four key rows.
template <size_t kQueries>
HWY_INLINE void score_four_keys(const float* queries, const float* keys, size_t width, float* scores) {
  HWY_ALIGN float dots[kQueries][4];
  dot_four_rows<kQueries>(keys, queries, width, dots[0], 4);
  for (size_t key = 0; key < 4; ++key) {
    for (size_t query = 0; query < kQueries; ++query) scores[key * kGroup + query] = dots[query][key];
  }
}

// ---- softmax -----------------------------------------------------------------------------------------------------

// exp((score - highest) / sqrt(d)), for score <= highest.
class Exponential {
 public:
  explicit Exponential(double scale)
      : scale_(hn::Set(Floats(), static_cast<float>(scale * kLog2E))),
        scale_rest_(hn::Set(Floats(), static_cast<float>(scale * kLog2E - static_cast<float>(scale * kLog2E)))) {}

  HWY_INLINE Vector operator()(Vector score, Vector highest) const {
    const Floats floats;
    const hn::RebindToSigned<Floats> ints;
    const auto difference = hn::Sub(score, highest);
    const auto exponent = hn::Mul(difference, scale_);
    // 2^exponent = 2^whole * 2^rest. Rounding by adding 1.5 * 2^23 leaves the whole part in the low bits.
    const auto rounding = hn::Set(floats, 12582912.0f);
    const auto rounded = hn::MulAdd(difference, scale_, rounding);
    const auto whole = hn::Sub(rounded, rounding);
    const auto rest = hn::MulAdd(difference, scale_rest_, hn::MulSub(difference, scale_, whole));
    auto power = hn::Set(floats, 1.534581216e-4f);
    power = hn::MulAdd(power, rest, hn::Set(floats, 1.339993118e-3f));
    power = hn::MulAdd(power, rest, hn::Set(floats, 9.618488956e-3f));
    power = hn::MulAdd(power, rest, hn::Set(floats, 5.550328777e-2f));
    power = hn::MulAdd(power, rest, hn::Set(floats, 2.402264689e-1f));
    power = hn::MulAdd(power, rest, hn::Set(floats, 6.931472057e-1f));
    power = hn::MulAdd(power, rest, hn::Set(floats, 1.0f));
    const auto biased = hn::Add(hn::BitCast(ints, rounded), hn::Set(ints, 127));
    const auto scaled = hn::Mul(power, hn::BitCast(floats, hn::ShiftLeft<23>(biased)));
    // Below the smallest normal number: zero. A NaN compares false and stays.
    return hn::IfThenZeroElse(hn::Lt(exponent, hn::Set(floats, -126.0f)), scaled);
  }

 private:
  static constexpr double kLog2E = 1.4426950408889634;
  Vector scale_, scale_rest_;
};

// The highest score of each lane's row.
HWY_INLINE Vector highest_scores(const float* scores, size_t frames) {
  const Floats floats;
  auto highest = hn::Load(floats, scores);
  for (size_t key = 1; key < frames; ++key) highest = hn::Max(highest, hn::Load(floats, scores + key * kGroup));
  return highest;
}

// Of each lane's softmax row, the mass off the diagonal; lane i is the row of frame `first + i`. Off-diagonal
// exponentials are summed by themselves, so that a row that is nearly one-hot keeps its digits.
HWY_INLINE Vector off_diagonal_mass(const float* scores, size_t frames, size_t first, const Exponential& exponential) {
  const Floats floats;
  const auto highest = highest_scores(scores, frames);
  const auto own_frame = hn::Iota(floats, static_cast<float>(first));
  auto off = hn::Zero(floats), on = hn::Zero(floats);
  const size_t last = std::min(first + kLanes, frames);
  for (size_t key = 0; key < first; ++key) {
    off = hn::Add(off, exponential(hn::Load(floats, scores + key * kGroup), highest));
  }
  for (size_t key = first; key < last; ++key) {
    const auto value = exponential(hn::Load(floats, scores + key * kGroup), highest);
    const auto is_diagonal = hn::Eq(own_frame, hn::Set(floats, static_cast<float>(key)));
    off = hn::Add(off, hn::IfThenZeroElse(is_diagonal, value));
    on = hn::Add(on, hn::IfThenElseZero(is_diagonal, value));
  }
  for (size_t key = last; key < frames; ++key) {
    off = hn::Add(off, exponential(hn::Load(floats, scores + key * kGroup), highest));
  }
  return hn::Div(off, hn::Add(off, on));
}

// Turns each lane's row of scores into its softmax.
HWY_INLINE void softmax_columns(float* scores, size_t frames, const Exponential& exponential) {
  const Floats floats;
  const auto highest = highest_scores(scores, frames);
  auto sum = hn::Zero(floats);
  for (size_t key = 0; key < frames; ++key) {
    const auto value = exponential(hn::Load(floats, scores + key * kGroup), highest);
    hn::Store(value, floats, scores + key * kGroup);
    sum = hn::Add(sum, value);
  }
  for (size_t key = 0; key < frames; ++key) {
    hn::Store(hn::Div(hn::Load(floats, scores + key * kGroup), sum), floats, scores + key * kGroup);
  }
}

// ---- one position ------------------------------------------------------------------------------------------------

// A thread's scratch memory. Rows that pad the frames to a multiple of four stay zero.
class Scratch {
 public:
  Scratch(size_t frames, size_t dim)
      : frames_(frames),
        width_(hwy::RoundUpTo(dim, kLanes)),
        padded_frames_(hwy::RoundUpTo(frames, 4)),
        memory_(hwy::AllocateAligned<float>(size())) {
    std::fill_n(memory_.get(), size(), 0.0f);
  }
  size_t frames() const { return frames_; }
  size_t width() const { return width_; }
  float* keys() const { return memory_.get(); }                        // [padded_frames, width]
  float* queries() const { return keys() + padded_frames_ * width_; }  // [kGroup, width]
  float* scores() const { return queries() + kGroup * width_; }  // [padded_frames, kGroup]: one key after the other

 private:
  size_t size() const { return (padded_frames_ + kGroup) * width_ + padded_frames_ * kGroup; }

  size_t frames_, width_, padded_frames_;
  hwy::AlignedFreeUniquePtr<float[]> memory_;
};

// Scores of a group of `count` query rows against all key rows.
HWY_INLINE void score_group(const Scratch& scratch, size_t count) {
  const size_t frames = scratch.frames(), width = scratch.width();
  const float* keys = scratch.keys();
  // Three rows left over are done as four; one or two are cheaper the other way round, against four keys at a time.
  const size_t quads = (count + 1) / 4, done = std::min(count, quads * 4);
  for (size_t quad = 0; quad < quads; ++quad) {
    const float* queries = scratch.queries() + quad * 4 * width;
    float* scores = scratch.scores() + quad * 4;
    size_t key = 0;
    for (; frames - key >= 3 && frames - key != 4; key += 3) {
      dot_four_rows<3>(queries, keys + key * width, width, scores + key * kGroup, kGroup);
    }
    for (; frames - key >= 2; key += 2) {
      dot_four_rows<2>(queries, keys + key * width, width, scores + key * kGroup, kGroup);
    }
    if (key < frames) dot_four_rows<1>(queries, keys + key * width, width, scores + key * kGroup, kGroup);
  }
  const float* queries = scratch.queries() + done * width;
  float* scores = scratch.scores() + done;
  for (size_t key = 0; done < count && key < frames; key += 4) {
    if (count - done == 2) {
      score_four_keys<2>(queries, keys + key * width, width, scores + key * kGroup);
    } else {
      score_four_keys<1>(queries, keys + key * width, width, scores + key * kGroup);
    }
  }
}

// Rows of one head at one position, `frame_stride` apart.
template <typename T>
struct FrameRows {
  const T* first;
  ptrdiff_t frame_stride;
  const T* operator[](size_t frame) const { return first + static_cast<ptrdiff_t>(frame) * frame_stride; }
};

// Calls use(first, count) for each group of rows of one position, with its scores in the scratch memory.
// While it reads rows it asks for those that come next, `query_ahead` and `key_ahead` elements further on.
template <typename T, class Use>
HWY_INLINE void for_each_group(FrameRows<T> query, FrameRows<T> key, ptrdiff_t query_ahead, ptrdiff_t key_ahead,
                               size_t dim, const Scratch& scratch, const Use& use) {
  const size_t frames = scratch.frames(), width = scratch.width();
  for (size_t frame = 0; frame < frames; ++frame) {
    prefetch_row(key[frame] + key_ahead, dim);
    widen_row(key[frame], dim, scratch.keys() + frame * width, width);
  }
  for (size_t first = 0; first < frames; first += kGroup) {
    const size_t count = std::min(kGroup, frames - first);
    for (size_t row = 0; row < count; ++row) {
      prefetch_row(query[first + row] + query_ahead, dim);
      widen_row(query[first + row], dim, scratch.queries() + row * width, width);
    }
    score_group(scratch, count);
    use(first, count);
  }
}

// Calls visit(head, query, key, query_ahead, key_ahead) for each head and position of a block, in the order in which
// they lie in memory.
template <typename T, class Visit>
HWY_INLINE void for_each_position(const CfiTask& task, const CfiBlock& block, const Visit& visit) {
  const auto rows = [&](const Rows& r, int64_t head, int64_t position) {
    return FrameRows<T>{static_cast<const T*>(r.data) + block.batch * r.batch_stride + head * r.head_stride +
                            position * r.position_stride,
                        static_cast<ptrdiff_t>(r.frame_stride)};
  };
  const auto& q = task.query;
  const auto& k = task.key;
  if (q.head_stride < q.position_stride) {
    for (int64_t position = block.position_begin; position < block.position_end; ++position) {
      for (int64_t head = block.head_begin; head < block.head_end; ++head) {
        visit(head, rows(q, head, position), rows(k, head, position), q.head_stride, k.head_stride);
      }
    }
  } else {
    for (int64_t head = block.head_begin; head < block.head_end; ++head) {
      for (int64_t position = block.position_begin; position < block.position_end; ++position) {
        visit(head, rows(q, head, position), rows(k, head, position), q.position_stride, k.position_stride);
      }
    }
  }
}

template <typename T>
void add_off_diagonal_mass_of(const CfiTask& task, const CfiBlock& block, double* mass_of_head) {
  const Floats floats;
  const auto dim = static_cast<size_t>(task.dim);
  const Scratch scratch(static_cast<size_t>(task.frames), dim);
  const Exponential exponential(1 / std::sqrt(static_cast<double>(task.dim)));
  for_each_position<T>(task, block, [&](int64_t head, auto query, auto key, ptrdiff_t q_ahead, ptrdiff_t k_ahead) {
    auto mass = hn::Zero(floats);
    for_each_group(query, key, q_ahead, k_ahead, dim, scratch, [&](size_t first, size_t count) {
      for (size_t row = 0; row < count; row += kLanes) {
        const auto rows = off_diagonal_mass(scratch.scores() + row, scratch.frames(), first + row, exponential);
        mass = hn::Add(mass, hn::IfThenElseZero(hn::FirstN(floats, count - row), rows));
      }
    });
    mass_of_head[head - block.head_begin] += static_cast<double>(hn::GetLane(hn::SumOfLanes(floats, mass)));
  });
}

template <typename T>
void add_attention_map_of(const CfiTask& task, const CfiBlock& block, double* map) {
  const auto dim = static_cast<size_t>(task.dim), frames = static_cast<size_t>(task.frames);
  const Scratch scratch(frames, dim);
  const Exponential exponential(1 / std::sqrt(static_cast<double>(task.dim)));
  for_each_position<T>(task, block, [&](int64_t, auto query, auto key, ptrdiff_t q_ahead, ptrdiff_t k_ahead) {
    for_each_group(query, key, q_ahead, k_ahead, dim, scratch, [&](size_t first, size_t count) {
      for (size_t row = 0; row < count; row += kLanes) softmax_columns(scratch.scores() + row, frames, exponential);
      for (size_t k = 0; k < frames; ++k) {
        const float* weights = scratch.scores() + k * kGroup;
        for (size_t row = 0; row < count; ++row) map[(first + row) * frames + k] += static_cast<double>(weights[row]);
      }
    });
  });
}

HWY_NOINLINE void AddOffDiagonalMass(const CfiTask& task, const CfiBlock& block, double* mass_of_head) {
  switch (task.element) {
    case Element::kFloat32:
      return add_off_diagonal_mass_of<float>(task, block, mass_of_head);
    case Element::kBFloat16:
      return add_off_diagonal_mass_of<hwy::bfloat16_t>(task, block, mass_of_head);
    case Element::kFloat16:
      return add_off_diagonal_mass_of<hwy::float16_t>(task, block, mass_of_head);
  }
}

HWY_NOINLINE void AddAttentionMap(const CfiTask& task, const CfiBlock& block, double* map) {
  switch (task.element) {
    case Element::kFloat32:
      return add_attention_map_of<float>(task, block, map);
    case Element::kBFloat16:
      return add_attention_map_of<hwy::bfloat16_t>(task, block, map);
    case Element::kFloat16:
      return add_attention_map_of<hwy::float16_t>(task, block, map);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#endif  // EAV_ENHANCE_CFI_KERNEL_INL_H_
