// The first half of the CFI kernel: rows of one position into float32, and the scores of query rows against key rows.

#if defined(EAV_KERNELS_CFI_SCORES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef EAV_KERNELS_CFI_SCORES_INL_H_
#undef EAV_KERNELS_CFI_SCORES_INL_H_
#else
#define EAV_KERNELS_CFI_SCORES_INL_H_
#endif

#include <algorithm>
#include <cstddef>

#include "kernels/simd-inl.h"
#include "kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr size_t kLanes = hn::MaxLanes(Floats());
constexpr size_t kGroup = 2 * kLanes;  // query rows taken at a time
constexpr size_t kSums = 12;           // vectors of sums that stay in registers
constexpr size_t kDims = 16;           // products summed before the sum joins the others'

// ---- rows into float32 -------------------------------------------------------------------------------------------

// Copies a row of `dim` elements and fills it with zeros up to `width`, a multiple of the lanes.
template <typename T>
HWY_INLINE void widen_row(const T* from, size_t dim, float* to, size_t width) {
  const Floats floats;
  size_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) hn::Store(load(floats, from + i), floats, to + i);
  if (i < width) {
    T rest[kLanes] = {};
    std::copy_n(from + i, dim - i, rest);
    hn::Store(load(floats, rest), floats, to + i);
  }
}

constexpr size_t kCacheLine = 64;

// Asks for the rows of the next position, a few cache lines at a time: all of them at once would hold up what follows.
class Ahead {
 public:
  // The first rows, their strides and their length in bytes.
  Ahead(const void* query, const void* key, ptrdiff_t query_stride, ptrdiff_t key_stride, size_t length, size_t frames)
      : query_(static_cast<const char*>(query)),
        key_(static_cast<const char*>(key)),
        query_stride_(query_stride),
        key_stride_(key_stride),
        length_(length),
        frames_(frames) {}

  HWY_INLINE void fetch(size_t lines) {
    for (; lines > 0 && frames_ > 0; --lines) {
      // Into the second cache: with many frames two positions are more than the first holds.
      __builtin_prefetch(query_ + byte_, 0, 2);
      __builtin_prefetch(key_ + byte_, 0, 2);
      byte_ += kCacheLine;
      if (byte_ < length_) continue;
      byte_ = 0, query_ += query_stride_, key_ += key_stride_, --frames_;
    }
  }
  size_t lines() const { return frames_ * ((length_ + kCacheLine - 1) / kCacheLine); }  // that are left
  HWY_INLINE void fetch_rest() { fetch(lines()); }

 private:
  const char *query_, *key_;
  ptrdiff_t query_stride_, key_stride_;
  size_t length_, frames_, byte_ = 0;
};

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

// Scores of kQueries query rows against four key rows, which suits the few rows that would leave most lanes idle.
template <size_t kQueries, typename Q>
HWY_INLINE void score_four_keys(const Q* const* queries, const float* keys, size_t width, float* scores) {
  const Floats floats;
  Vector sum[kQueries][4];
  for (auto& row : sum) row[0] = row[1] = row[2] = row[3] = hn::Zero(floats);
  for (size_t i = 0; i < width; i += kLanes) {
    for (size_t key = 0; key < 4; ++key) {
      const auto row = hn::Load(floats, keys + key * width + i);
      for (size_t q = 0; q < kQueries; ++q) sum[q][key] = hn::MulAdd(row, load(floats, queries[q] + i), sum[q][key]);
    }
  }
  HWY_ALIGN float dots[kQueries][4];
  for (size_t q = 0; q < kQueries; ++q) store_sums(sum[q][0], sum[q][1], sum[q][2], sum[q][3], dots[q]);
  for (size_t key = 0; key < 4; ++key) {
    for (size_t q = 0; q < kQueries; ++q) scores[key * kGroup + q] = dots[q][key];
  }
}

// columns [width, kGroup] from `count` rows. Lanes past `count` repeat a row.
template <typename Q>
HWY_INLINE void transpose_rows(const Q* const* rows, size_t count, size_t width, float* columns) {
  const Floats floats;
  for (size_t first = 0; first < count; first += kLanes) {
    for (size_t i = 0; i < width; i += kLanes) {
      Vector square[kLanes];
      HWY_UNROLL(16)
      for (size_t row = 0; row < kLanes; ++row) square[row] = load(floats, rows[std::min(first + row, count - 1)] + i);
      transpose(square);
      HWY_UNROLL(16)
      for (size_t j = 0; j < kLanes; ++j) hn::Store(square[j], floats, columns + (i + j) * kGroup + first);
    }
  }
}

// Scores of kVectors vectors of query rows, transposed in `columns`, against kCount key rows. Long sums are made of
// short ones, which rounds less.
template <size_t kVectors, size_t kCount>
HWY_INLINE void score_keys(const float* HWY_RESTRICT columns, const float* HWY_RESTRICT keys, size_t width, size_t dim,
                           float* HWY_RESTRICT scores, Ahead& ahead, size_t lines) {
  const Floats floats;
  for (size_t begin = 0; begin < dim; begin += kDims) {
    ahead.fetch(lines);
    Vector sum[kCount][kVectors];
    for (auto& row : sum)
      for (auto& v : row) v = hn::Zero(floats);
    for (size_t i = begin; i < std::min(dim, begin + kDims); ++i) {
      Vector query[kVectors];
      for (size_t v = 0; v < kVectors; ++v) query[v] = hn::Load(floats, columns + i * kGroup + v * kLanes);
      HWY_UNROLL(12)  // kSums: the pragma takes no template argument
      for (size_t key = 0; key < kCount; ++key) {
        const auto value = hn::Set(floats, keys[key * width + i]);
        for (size_t v = 0; v < kVectors; ++v) sum[key][v] = hn::MulAdd(value, query[v], sum[key][v]);
      }
    }
    for (size_t key = 0; key < kCount; ++key)
      for (size_t v = 0; v < kVectors; ++v) {
        float* to = scores + key * kGroup + v * kLanes;
        hn::Store(begin == 0 ? sum[key][v] : hn::Add(sum[key][v], hn::Load(floats, to)), floats, to);
      }
  }
}

// Scores against any number of key rows up to kMost.
template <size_t kVectors, size_t kMost = kSums / kVectors>
HWY_INLINE void score_some_keys(size_t count, const float* columns, const float* keys, size_t width, size_t dim,
                                float* scores, Ahead& ahead, size_t lines) {
  if constexpr (kMost > 1) {
    if (count < kMost)
      return score_some_keys<kVectors, kMost - 1>(count, columns, keys, width, dim, scores, ahead, lines);
  }
  score_keys<kVectors, kMost>(columns, keys, width, dim, scores, ahead, lines);
}

template <size_t kVectors>
HWY_NOINLINE void score_all_keys(const float* columns, const float* keys, size_t frames, size_t width, size_t dim,
                                 float* scores, Ahead& ahead) {
  constexpr size_t kMost = kSums / kVectors;
  // About what falls to each turn of the loops when all rows are fetched meanwhile.
  const size_t turns_of_all = (frames + kMost - 1) / kMost * ((dim + kDims - 1) / kDims);
  const size_t lines = ahead.lines() / std::max<size_t>(turns_of_all, 1) + 1;
  for (size_t key = 0; key < frames;) {
    const size_t turns = (frames - key + kMost - 1) / kMost, count = (frames - key + turns - 1) / turns;  // even shares
    score_some_keys<kVectors>(count, columns, keys + key * width, width, dim, scores + key * kGroup, ahead, lines);
    key += count;
  }
}

// Dot products of four rows, each with another, in double precision.
template <typename Q>
HWY_INLINE void dot_in_double(const Q* const (&a)[4], const float* const (&b)[4], size_t width, double (&dots)[4]) {
  const hn::CappedTag<double, (kLanes + 1) / 2> doubles;
  const hn::Rebind<float, decltype(doubles)> floats;
  hn::Vec<decltype(doubles)> sum[4];
  for (auto& s : sum) s = hn::Zero(doubles);
  for (size_t i = 0; i < width; i += hn::MaxLanes(doubles)) {
    HWY_UNROLL(4)  // or the sums would lie in memory
    for (size_t row = 0; row < 4; ++row)
      sum[row] = hn::MulAdd(hn::PromoteTo(doubles, load(floats, a[row] + i)),
                            hn::PromoteTo(doubles, hn::LoadU(floats, b[row] + i)), sum[row]);
  }
  for (size_t row = 0; row < 4; ++row) dots[row] = hn::GetLane(hn::SumOfLanes(doubles, sum[row]));
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#endif  // EAV_KERNELS_CFI_SCORES_INL_H_
