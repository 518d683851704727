// The matrix product as Goto and van de Geijn arrange it (Anatomy of high-performance matrix multiplication, 2008): a
// panel of weights stays in the last cache, a block of rows in the second, and 6 x 2 vectors of sums in registers.
#include "kernels/matmul.h"

#include <ATen/Parallel.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/matmul.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <atomic>

#include "kernels/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kColumns = 2 * kLanes;  // of y that are computed together
constexpr int64_t kRows = 6;              // and rows: 12 sums stay in registers
constexpr int64_t kDepth = 384;           // of the sums that are computed between two visits of y
constexpr int64_t kPanel = 1920;          // columns whose weights are packed at a time
constexpr int64_t kBlock = 144;           // rows that a thread packs at a time, at most

// ---- packing -------------------------------------------------------------------------------------------------------

// to [depth, kColumns] from weight [columns, stride] of which `depth` elements of each row are taken; 0 where there is
// no column.
template <class T>
HWY_INLINE void pack_weights(const T* weight, int64_t stride, int64_t columns, int64_t depth, float* to) {
  int64_t k = 0;
#if HWY_TARGET == HWY_AVX2
  if (columns == kColumns) {
    for (; k + kLanes <= depth; k += kLanes) {
      for (int64_t side = 0; side < kColumns; side += kLanes) {
        Vector rows[8];
        for (int64_t i = 0; i < 8; ++i) rows[i] = load(Floats(), weight + (side + i) * stride + k);
        transpose(rows);
        for (int64_t i = 0; i < 8; ++i) hn::Store(rows[i], Floats(), to + (k + i) * kColumns + side);
      }
    }
  }
#endif
  for (; k < depth; ++k)
    for (int64_t column = 0; column < kColumns; ++column)
      to[k * kColumns + column] = column < columns ? static_cast<float>(weight[column * stride + k]) : 0.0f;
}

// to [rows / kRows, depth, kRows] from x [rows, stride]; 0 where there is no row. Writes up to kSlack elements more.
constexpr int64_t kSlack = 2;
HWY_INLINE void pack_rows(const float* x, int64_t stride, int64_t rows, int64_t depth, float* to) {
  for (int64_t r = 0; r < rows; r += kRows, x += kRows * stride, to += depth * kRows) {
    const auto n = std::min(kRows, rows - r);
    int64_t k = 0;
#if HWY_TARGET == HWY_AVX2
    for (; k + kLanes <= depth; k += kLanes) {
      Vector columns[8];
      for (int64_t i = 0; i < 8; ++i) columns[i] = i < n ? load(Floats(), x + i * stride + k) : hn::Zero(Floats());
      transpose(columns);
      // The two elements too many of each are overwritten by the next.
      for (int64_t i = 0; i < 8; ++i) hn::StoreU(columns[i], Floats(), to + (k + i) * kRows);
    }
#endif
    for (; k < depth; ++k)
      for (int64_t i = 0; i < kRows; ++i) to[k * kRows + i] = i < n ? x[i * stride + k] : 0.0f;
  }
}

// ---- products ------------------------------------------------------------------------------------------------------

// The sums of `depth` products for kRows rows and kColumns columns, into the first rows and columns of y: set to them
// and the bias at first, added to what is there later.
HWY_INLINE void multiply(const float* x, const float* weight, int64_t depth, float* y, int64_t stride, int64_t rows,
                         int64_t columns, const float* bias, bool first) {
  const Floats d;
  Vector sums[kRows][2];
  HWY_UNROLL(kRows)
  for (int64_t r = 0; r < kRows; ++r) sums[r][0] = sums[r][1] = hn::Zero(d);
  for (int64_t k = 0; k < depth; ++k, x += kRows, weight += kColumns) {
    const auto left = hn::Load(d, weight), right = hn::Load(d, weight + kLanes);
    HWY_UNROLL(kRows)
    for (int64_t r = 0; r < kRows; ++r) {
      const auto value = hn::Set(d, x[r]);
      sums[r][0] = hn::MulAdd(value, left, sums[r][0]);
      sums[r][1] = hn::MulAdd(value, right, sums[r][1]);
    }
  }
  if (rows == kRows && columns == kColumns) {
    const auto begin = first && bias ? hn::LoadU(d, bias) : hn::Zero(d);
    const auto begin_right = first && bias ? hn::LoadU(d, bias + kLanes) : hn::Zero(d);
    HWY_UNROLL(kRows)
    for (int64_t r = 0; r < kRows; ++r) {
      float* to = y + r * stride;
      hn::StoreU(hn::Add(sums[r][0], first ? begin : hn::LoadU(d, to)), d, to);
      hn::StoreU(hn::Add(sums[r][1], first ? begin_right : hn::LoadU(d, to + kLanes)), d, to + kLanes);
    }
    return;
  }
  HWY_ALIGN float tile[kRows * kColumns];
  HWY_UNROLL(kRows)
  for (int64_t r = 0; r < kRows; ++r) {
    hn::Store(sums[r][0], d, tile + r * kColumns);
    hn::Store(sums[r][1], d, tile + r * kColumns + kLanes);
  }
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c) {
      float& to = y[r * stride + c];
      to = tile[r * kColumns + c] + (first ? (bias ? bias[c] : 0.0f) : to);
    }
}

template <class T>
void product(const Matmul& m, const T* weight) {
  const auto panel = std::min(kPanel, (m.out + kColumns - 1) / kColumns * kColumns);
  const auto packed = hwy::AllocateAligned<float>(static_cast<size_t>(panel * std::min(kDepth, m.in)));
  // Blocks of equal size, as many for one thread as for another.
  const int64_t threads = at::get_num_threads(),
                most = threads * ((m.rows + threads * kBlock - 1) / (threads * kBlock));
  const auto block = ((m.rows + most - 1) / most + kRows - 1) / kRows * kRows, blocks = (m.rows + block - 1) / block;

  for (int64_t column = 0; column < m.out; column += panel) {
    const auto columns = std::min(panel, m.out - column);
    for (int64_t k = 0; k < m.in; k += kDepth) {
      const auto depth = std::min(kDepth, m.in - k);
      const bool first = k == 0, last = k + depth == m.in;

      at::parallel_for(0, (columns + kColumns - 1) / kColumns, 1, [&](int64_t begin, int64_t end) {
        for (auto c = begin * kColumns; c < std::min(columns, end * kColumns); c += kColumns)
          pack_weights(weight + (column + c) * m.in + k, m.in, std::min(kColumns, columns - c), depth,
                       packed.get() + c * depth);
      });
      // Threads take the next block when they are ready, so that one which the machine slows down holds up none.
      std::atomic<int64_t> next = 0;
      at::parallel_for(0, std::min(threads, blocks), 1, [&](int64_t, int64_t) {
        const auto x = hwy::AllocateAligned<float>(static_cast<size_t>(block * depth + kSlack));
        for (int64_t row = next.fetch_add(block); row < m.rows; row = next.fetch_add(block)) {
          const auto rows = std::min(block, m.rows - row);
          float* y = m.y + row * m.y_stride + column;
          pack_rows(m.x + row * m.in + k, m.in, rows, depth, x.get());
          for (int64_t c = 0; c < columns; c += kColumns)
            for (int64_t r = 0; r < rows; r += kRows)
              multiply(x.get() + r * depth, packed.get() + c * depth, depth, y + r * m.y_stride + c, m.y_stride,
                       std::min(kRows, rows - r), std::min(kColumns, columns - c),
                       m.bias ? m.bias + column + c : nullptr, first);
          if (last && m.finish)
            for (int64_t r = 0; r < rows; ++r) m.finish(y + r * m.y_stride, columns);
        }
      });
    }
  }
}

void Product(const Matmul& m) {
  if (m.stored == Element::float32) return product(m, static_cast<const float*>(m.weight));
  if (m.stored == Element::bfloat16) return product(m, static_cast<const c10::BFloat16*>(m.weight));
  product(m, static_cast<const c10::Half*>(m.weight));
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(Product);
}  // namespace

bool matmul_is_faster() {
  static const bool faster = (hwy::SupportedTargets() & (HWY_AVX3 | HWY_AVX2)) == HWY_AVX2;
  return faster;
}

void matmul(const Matmul& product) { HWY_DYNAMIC_DISPATCH(Product)(product); }

}  // namespace eav
#endif
