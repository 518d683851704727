// One position of one head has `frames` query rows against as many key rows. The keys are widened to float32 in a
// scratch tile; then a group of query rows, as many as two vectors have lanes, is transposed, so that each lane walks
// along one softmax row and no row is reduced across lanes. The scores of one group are all that is kept of the map.
#include "kernels/cfi.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cfi.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cmath>

#include "kernels/cfi_scores-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

// ---- softmax -----------------------------------------------------------------------------------------------------

// A row's highest score, as a sum of two numbers.
struct Highest {
  Vector value, rest;
};

// exp((score - highest) / sqrt(d)), for score <= highest. What the difference loses to rounding is made up for: of a
// row that is nearly one-hot, all digits of the small weights depend on it.
class Exponential {
 public:
  explicit Exponential(double scale)
      : scale_(hn::Set(Floats(), static_cast<float>(scale * kLog2E))),
        scale_rest_(hn::Set(Floats(), static_cast<float>(scale * kLog2E - static_cast<float>(scale * kLog2E)))) {}

  HWY_INLINE Vector operator()(Vector score, const Highest& highest) const {
    const Floats floats;
    const hn::RebindToSigned<Floats> ints;
    const auto difference = hn::Sub(score, highest.value);
    // Knuth's sum of two numbers and its error.
    const auto part = hn::Sub(difference, score);
    const auto lost = hn::Sub(hn::Sub(score, hn::Sub(difference, part)), hn::Add(highest.value, part));
    const auto small = hn::Sub(lost, highest.rest);
    const auto exponent = hn::Mul(difference, scale_);
    // 2^exponent = 2^whole * 2^rest. Rounding by adding 1.5 * 2^23 leaves the whole part in the low bits.
    const auto rounding = hn::Set(floats, 12582912.0f);
    const auto rounded = hn::MulAdd(difference, scale_, rounding);
    const auto whole = hn::Sub(rounded, rounding);
    const auto rest =
        hn::MulAdd(small, scale_, hn::MulAdd(difference, scale_rest_, hn::MulSub(difference, scale_, whole)));
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

// The highest score of each lane's row. `rests` has what the scores on the diagonal lack; lane i's is that of key
// `first + i`.
HWY_INLINE Highest highest_scores(const float* scores, const float* rests, size_t frames, size_t first) {
  const Floats floats;
  auto highest = hn::Load(floats, scores);
  for (size_t key = 1; key < frames; ++key) highest = hn::Max(highest, hn::Load(floats, scores + key * kGroup));
  HWY_ALIGN float diagonal[kLanes];
  for (size_t lane = 0; lane < kLanes; ++lane)
    diagonal[lane] = scores[std::min(first + lane, frames - 1) * kGroup + lane];
  const auto is_diagonal = hn::Eq(highest, hn::Load(floats, diagonal));
  return {highest, hn::IfThenElseZero(is_diagonal, hn::Load(floats, rests))};
}

// Of each lane's softmax row, the mass off the diagonal; lane i is the row of frame `first + i`. Off-diagonal
// exponentials are summed by themselves, so that a row that is nearly one-hot keeps its digits.
HWY_INLINE Vector off_diagonal_mass(const float* scores, const float* rests, size_t frames, size_t first,
                                    const Exponential& exponential) {
  const Floats floats;
  const auto highest = highest_scores(scores, rests, frames, first);
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
HWY_INLINE void softmax_columns(float* scores, const float* rests, size_t frames, size_t first,
                                const Exponential& exponential) {
  const Floats floats;
  const auto highest = highest_scores(scores, rests, frames, first);
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
  float* columns() const { return queries() + kGroup * width_; }       // [width, kGroup]: the queries transposed
  float* scores() const { return columns() + kGroup * width_; }  // [padded_frames, kGroup]: one key after the other
  float* rests() const { return scores() + padded_frames_ * kGroup; }  // [kGroup]: what the diagonal's scores lack

 private:
  size_t size() const { return (padded_frames_ + 2 * kGroup) * width_ + (padded_frames_ + 1) * kGroup; }

  size_t frames_, width_, padded_frames_;
  hwy::AlignedFreeUniquePtr<float[]> memory_;
};

// The diagonal's scores with twice the digits, the second half in the rests.
template <typename Q>
HWY_INLINE void score_diagonal(const Scratch& scratch, const Q* const* queries, size_t first, size_t count) {
  for (size_t row = 0; row < count; row += 4) {
    const Q* query[4];
    const float* key[4];
    for (size_t i = 0; i < 4; ++i) {
      const size_t r = std::min(row + i, count - 1);
      query[i] = queries[r], key[i] = scratch.keys() + (first + r) * scratch.width();
    }
    double dots[4];
    dot_in_double(query, key, scratch.width(), dots);
    for (size_t i = 0; i < 4 && row + i < count; ++i) {
      const auto rounded = static_cast<float>(dots[i]);
      scratch.scores()[(first + row + i) * kGroup + row + i] = rounded;
      scratch.rests()[row + i] =
          std::isfinite(rounded) ? static_cast<float>(dots[i] - static_cast<double>(rounded)) : 0;
    }
  }
}

// Scores of a group of `count` query rows, the first of which is frame `first`, against all key rows.
template <typename Q>
HWY_INLINE void score_group(const Scratch& scratch, const Q* const* queries, size_t first, size_t count, size_t dim,
                            Ahead& ahead) {
  const size_t frames = scratch.frames(), width = scratch.width();
  const float* keys = scratch.keys();
  const size_t left_over = count % kLanes <= 2 ? count % kLanes : 0, done = count - left_over;
  transpose_rows(queries, done, width, scratch.columns());
  if (done > kLanes) {
    score_all_keys<2>(scratch.columns(), keys, frames, width, dim, scratch.scores(), ahead);
  } else if (done > 0) {
    score_all_keys<1>(scratch.columns(), keys, frames, width, dim, scratch.scores(), ahead);
  }
  for (size_t key = 0; left_over > 0 && key < frames; key += 4) {
    float* scores = scratch.scores() + key * kGroup + done;
    if (left_over == 2) {
      score_four_keys<2>(queries + done, keys + key * width, width, scores);
    } else {
      score_four_keys<1>(queries + done, keys + key * width, width, scores);
    }
  }
  score_diagonal(scratch, queries, first, count);
}

// Rows of one head at one position, `frame_stride` apart.
template <typename T>
struct FrameRows {
  const T* first;
  ptrdiff_t frame_stride;
  const T* operator[](size_t frame) const { return first + static_cast<ptrdiff_t>(frame) * frame_stride; }
};

// Calls use(first, count) for each group of rows of one position, with its scores in the scratch memory. Meanwhile it
// asks for the rows that come next, `query_ahead` and `key_ahead` elements further on.
template <typename T, class Use>
HWY_INLINE void for_each_group(FrameRows<T> query, FrameRows<T> key, ptrdiff_t query_ahead, ptrdiff_t key_ahead,
                               size_t dim, const Scratch& scratch, const Use& use) {
  constexpr auto kBytes = static_cast<ptrdiff_t>(sizeof(T));
  const size_t frames = scratch.frames(), width = scratch.width();
  Ahead ahead(query[0] + query_ahead, key[0] + key_ahead, query.frame_stride * kBytes, key.frame_stride * kBytes,
              dim * sizeof(T), frames);
  for (size_t frame = 0; frame < frames; ++frame) {
    widen_row(key[frame], dim, scratch.keys() + frame * width, width);
  }
  for (size_t first = 0; first < frames; first += kGroup) {
    const size_t count = std::min(kGroup, frames - first);
    if (width == dim) {  // read where they lie
      const T* queries[kGroup];
      for (size_t row = 0; row < count; ++row) queries[row] = query[first + row];
      score_group(scratch, queries, first, count, dim, ahead);
    } else {
      const float* queries[kGroup];
      for (size_t row = 0; row < count; ++row) {
        float* to = scratch.queries() + row * width;
        widen_row(query[first + row], dim, to, width);
        queries[row] = to;
      }
      score_group(scratch, queries, first, count, dim, ahead);
    }
    use(first, count);
  }
  ahead.fetch_rest();
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
        const auto rows = off_diagonal_mass(scratch.scores() + row, scratch.rests() + row, scratch.frames(),
                                            first + row, exponential);
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
      for (size_t row = 0; row < count; row += kLanes)
        softmax_columns(scratch.scores() + row, scratch.rests() + row, frames, first + row, exponential);
      for (size_t k = 0; k < frames; ++k) {
        const float* weights = scratch.scores() + k * kGroup;
        for (size_t row = 0; row < count; ++row) map[(first + row) * frames + k] += static_cast<double>(weights[row]);
      }
    });
  });
}

HWY_NOINLINE void AddOffDiagonalMass(const CfiTask& task, const CfiBlock& block, double* mass_of_head) {
  switch (task.element) {
    case Element::float32:
      return add_off_diagonal_mass_of<float>(task, block, mass_of_head);
    case Element::bfloat16:
      return add_off_diagonal_mass_of<c10::BFloat16>(task, block, mass_of_head);
    case Element::float16:
      return add_off_diagonal_mass_of<c10::Half>(task, block, mass_of_head);
  }
}

HWY_NOINLINE void AddAttentionMap(const CfiTask& task, const CfiBlock& block, double* map) {
  switch (task.element) {
    case Element::float32:
      return add_attention_map_of<float>(task, block, map);
    case Element::bfloat16:
      return add_attention_map_of<c10::BFloat16>(task, block, map);
    case Element::float16:
      return add_attention_map_of<c10::Half>(task, block, map);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(AddOffDiagonalMass);
HWY_EXPORT(AddAttentionMap);
}  // namespace

void add_off_diagonal_mass(const CfiTask& task, const CfiBlock& block, double* mass_of_head) {
  HWY_DYNAMIC_DISPATCH(AddOffDiagonalMass)(task, block, mass_of_head);
}

void add_attention_map(const CfiTask& task, const CfiBlock& block, double* map) {
  HWY_DYNAMIC_DISPATCH(AddAttentionMap)(task, block, map);
}

}  // namespace eav
#endif
