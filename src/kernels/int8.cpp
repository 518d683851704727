// A block of rows becomes 8 bits and stays in the second cache while all tiles of weights pass it; sums of a tile
// become numbers while they are in the first. Products are ATen's `brgemm` of unsigned and signed bytes, which takes
// rows of weights in fours: 128 is added to what is of x, and taken off the sums with the weights' own.
#include "kernels/int8.h"

#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/int8.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "kernels/gelu-inl.h"

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());

// ---- rotation ------------------------------------------------------------------------------------------------------

// Of the vectors `x`, taken as one row, the elements whose places differ from those of vector j by the bits of kMask.
template <int64_t kMask, size_t kVectors>
HWY_INLINE Vector partner(const Vector (&x)[kVectors], size_t j) {
  const auto other = x[j ^ static_cast<size_t>(kMask / kLanes)];
  if constexpr (kMask % kLanes == 0) return other;
  const hn::RebindToSigned<Floats> integers;
  const auto places = hn::Xor(hn::Iota(integers, 0), hn::Set(integers, static_cast<int32_t>(kMask % kLanes)));
  return hn::TableLookupLanes(other, hn::IndicesFromVec(Floats(), places));
}

// The regular Hadamard matrix of four on each four elements that are kDistance apart: half of their sum, less the one
// across.
template <int64_t kDistance, size_t kVectors>
HWY_INLINE void mix_fours(Vector (&x)[kVectors]) {
  const auto half = hn::Set(Floats(), 0.5f);
  Vector pairs[kVectors], mixed[kVectors];
  HWY_UNROLL(16)
  for (size_t j = 0; j < kVectors; ++j) pairs[j] = hn::Add(x[j], partner<kDistance>(x, j));
  HWY_UNROLL(16)
  for (size_t j = 0; j < kVectors; ++j)
    mixed[j] = hn::MulSub(half, hn::Add(pairs[j], partner<2 * kDistance>(pairs, j)), partner<3 * kDistance>(x, j));
  HWY_UNROLL(16)
  for (size_t j = 0; j < kVectors; ++j) x[j] = mixed[j];
}

// Both halves become their sum and their difference, divided by the square root of two.
template <size_t kVectors>
HWY_INLINE void mix_halves(Vector (&x)[kVectors]) {
  const auto factor = hn::Set(Floats(), 0.70710678118654752f);
  HWY_UNROLL(16)
  for (size_t j = 0; j < kVectors / 2; ++j) {
    const auto a = x[j], b = x[j + kVectors / 2];
    x[j] = hn::Mul(hn::Add(a, b), factor);
    x[j + kVectors / 2] = hn::Mul(hn::Sub(a, b), factor);
  }
}

template <int64_t kGroup, size_t kVectors>
HWY_INLINE void rotate(Vector (&x)[kVectors]) {
  if constexpr (kGroup >= 16) {
    mix_fours<1>(x);
    mix_fours<4>(x);
  }
  if constexpr (kGroup >= 64) mix_fours<16>(x);
  if constexpr (kGroup >= 256) mix_fours<64>(x);
  if constexpr (kGroup == 32 || kGroup == 128) mix_halves(x);
}

// ---- rounding ------------------------------------------------------------------------------------------------------

template <int64_t kGroup, class T>
float quantize(const T* row, int64_t columns, float* scratch, uint8_t* to) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  const hn::Rebind<uint8_t, Floats> bytes;
  constexpr size_t kVectors = std::max<int64_t>(kGroup / kLanes, 1);
  // Numbers without their sign are ordered as their bits are, and what is no number comes last.
  auto largest = hn::Zero(integers);
  const auto keep = [&](Vector v, int64_t i) HWY_ATTR {
    largest = hn::Max(largest, hn::BitCast(integers, hn::Abs(v)));
    hn::Store(v, d, scratch + i);
  };
  int64_t i = 0;
  for (constexpr int64_t kStep = kVectors * kLanes; i + kStep <= columns; i += kStep) {
    Vector x[kVectors];
    HWY_UNROLL(16)
    for (size_t j = 0; j < kVectors; ++j) x[j] = load(d, row + i + static_cast<int64_t>(j) * kLanes);
    rotate<kGroup>(x);
    HWY_UNROLL(16)
    for (size_t j = 0; j < kVectors; ++j) keep(x[j], i + static_cast<int64_t>(j) * kLanes);
  }
  if (i < columns) keep(load_some(row + i, columns - i), i);  // where nothing is rotated

  const float most = hn::GetLane(hn::BitCast(d, hn::MaxOfLanes(integers, largest)));
  // 127 / most would be no number, and the products none to speak of, or no numbers whatever the row is.
  const bool none = !(most >= 1e-30f && most <= hwy::HighestValue<float>());
  const auto factor = hn::Set(d, none ? 0.0f : 127.0f / most);
  const auto middle = hn::Set(integers, 128);
  const auto padded = (columns + kInt8Padding - 1) / kInt8Padding * kInt8Padding;
  for (auto end = (columns + kLanes - 1) / kLanes * kLanes; end < padded; end += kLanes)
    hn::Store(hn::Zero(d), d, scratch + end);
  for (i = 0; i < padded; i += kLanes) {
    const auto whole = hn::NearestInt(hn::Mul(hn::Load(d, scratch + i), factor));
    hn::StoreU(hn::DemoteTo(bytes, hn::Add(whole, middle)), bytes, to + i);
  }
  return most < 1e-30f ? 0.0f : most / 127.0f;
}

template <class T>
float quantize(const T* row, int64_t columns, int64_t rotated, float* scratch, uint8_t* to) {
  switch (rotated) {
    case 16:
      return quantize<16>(row, columns, scratch, to);
    case 32:
      return quantize<32>(row, columns, scratch, to);
    case 64:
      return quantize<64>(row, columns, scratch, to);
    case 128:
      return quantize<128>(row, columns, scratch, to);
    case 256:
      return quantize<256>(row, columns, scratch, to);
    default:
      return quantize<1>(row, columns, scratch, to);
  }
}

float Quantize(const void* row, Element element, int64_t columns, int64_t rotated, float* scratch, uint8_t* to) {
  if (element == Element::float32) return quantize(static_cast<const float*>(row), columns, rotated, scratch, to);
  return quantize(static_cast<const c10::BFloat16*>(row), columns, rotated, scratch, to);
}

// ---- sums ----------------------------------------------------------------------------------------------------------

template <bool kGelu, class T>
void finish(const int32_t* sums, int64_t columns, float scale, const Int8Product& p, int64_t first, T* y) {
  const Floats d;
  const hn::RebindToSigned<Floats> integers;
  const auto of_row = hn::Set(d, scale);
  for (int64_t i = 0; i < columns; i += kLanes) {
    const auto left = columns - i;
    const auto sum = hn::Sub(hn::Load(integers, sums + i), hn::LoadU(integers, p.sums + first + i));
    const auto factor = hn::Mul(of_row, hn::LoadU(d, p.scales + first + i));
    const auto bias = p.bias ? load_some(p.bias + first + i, left) : hn::Zero(d);
    auto v = hn::MulAdd(hn::ConvertTo(d, sum), factor, bias);
    if constexpr (kGelu) v = gelu_tanh(v);
    store_some(v, y + i, left);
  }
}

// Rows of a tile of sums [rows, kInt8Tile], as y.
void Finish(const Int8Product& p, const int32_t* sums, const float* scales, int64_t row, int64_t rows, int64_t first,
            int64_t columns) {
  const auto run = [&](auto* y) HWY_ATTR {
    y += row * p.y_stride + first;
    for (int64_t r = 0; r < rows; ++r, y += p.y_stride, sums += kInt8Tile)
      if (p.gelu_tanh)
        finish<true>(sums, columns, scales[r], p, first, y);
      else
        finish<false>(sums, columns, scales[r], p, first, y);
  };
  if (p.element == Element::float32) return run(static_cast<float*>(p.y));
  run(static_cast<c10::BFloat16*>(p.y));
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(Quantize);
HWY_EXPORT(Finish);

constexpr int64_t kBlock = 256;   // rows of x that stay in the cache, at most
constexpr int64_t kDepth = 2048;  // columns of weights that do, at most

int64_t padded(int64_t count, int64_t multiple) { return (count + multiple - 1) / multiple * multiple; }

// The product of a tile: unsigned `x` [rows, depth] and signed `weights` [depth / 4, columns, 4].
void multiply_tile(int64_t rows, int64_t columns, int64_t depth, const uint8_t* x, int64_t stride,
                   const int8_t* weights, int32_t* sums) {
  const auto parts = (depth + kDepth - 1) / kDepth, part = padded((depth + parts - 1) / parts, 64);
  for (int64_t k = 0; k < depth; k += part)
    at::native::cpublas::brgemm(rows, columns, std::min(part, depth - k), stride, columns, kInt8Tile, /*add_C=*/k > 0,
                                x + k, reinterpret_cast<const signed char*>(weights) + k * columns, sums);
}

// Rows of x in 8 bits.
class Rows {
 public:
  Rows(const Int8Product& p, int64_t most)
      : product_(p),
        // Rows that lie a power of two apart would share few places of a cache.
        stride_(padded(p.in, kInt8Padding) + 64),
        bytes_(hwy::AllocateAligned<uint8_t>(static_cast<size_t>(most * stride_))),
        scales_(static_cast<size_t>(most)) {}

  // The rows first..first+count-1 of x become those from `to` on.
  void take(int64_t first, int64_t count, int64_t to, float* scratch) {
    const auto size = product_.element == Element::float32 ? sizeof(float) : sizeof(c10::BFloat16);
    for (int64_t r = 0; r < count; ++r) {
      const auto* row =
          static_cast<const uint8_t*>(product_.x) + (first + r) * product_.x_stride * static_cast<int64_t>(size);
      scales_[static_cast<size_t>(to + r)] = HWY_DYNAMIC_DISPATCH(Quantize)(
          row, product_.element, product_.in, product_.rotated, scratch, bytes_.get() + (to + r) * stride_);
    }
  }
  const uint8_t* at(int64_t row) const { return bytes_.get() + row * stride_; }
  const float* scales(int64_t row) const { return scales_.data() + row; }
  int64_t stride() const { return stride_; }

 private:
  const Int8Product& product_;
  int64_t stride_;
  hwy::AlignedFreeUniquePtr<uint8_t[]> bytes_;
  std::vector<float> scales_;
};

hwy::AlignedFreeUniquePtr<float[]> scratch_of(const Int8Product& p) {
  return hwy::AllocateAligned<float>(static_cast<size_t>(padded(p.in, kInt8Padding)));
}

// Sums of so many columns, with odd numbers of the rest.
bool sums_are_exact(int64_t depth) {
  constexpr int64_t rows = 7, columns = 48;
  std::vector<uint8_t> x(static_cast<size_t>(rows * depth));
  std::vector<int8_t> w(static_cast<size_t>(columns * depth)), tiles(w.size());
  std::vector<int32_t> sums(rows * kInt8Tile), of_weights(columns);
  std::minstd_rand random(1);  // NOLINT(cert-msc51-cpp): the same numbers each time
  // All the largest, all the smallest, of both signs in turn, random ones.
  for (int kind = 0; kind < 5; ++kind) {
    const auto value = [&](size_t i) {
      const std::array of_kind{127, -127, -128, i % 2 == 0 ? 127 : -128, static_cast<int>(random() % 256) - 128};
      return of_kind[static_cast<size_t>(kind)];
    };
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint8_t>(kind == 0 ? 255 : value(i) + 128);
    for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<int8_t>(value(i));
    pack_int8(w.data(), columns, depth, tiles.data(), of_weights.data());
    try {
      multiply_tile(rows, columns, depth, x.data(), depth, tiles.data(), sums.data());
      at::native::cpublas::brgemm_release();
    } catch (const std::exception&) {
      return false;  // this CPU, or this build of PyTorch, has none
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        const auto* of_row = x.data() + r * depth;
        const auto* of_column = w.data() + c * depth;
        const auto expected = std::inner_product(of_row, of_row + depth, of_column, int64_t{0});
        if (sums[static_cast<size_t>(r * kInt8Tile + c)] != expected) return false;
      }
  }
  return true;
}

}  // namespace

int64_t int8_rotation(int64_t columns) {
  constexpr int64_t kMost = 256, kLeast = 16;
  auto group = kMost;
  while (group >= kLeast && columns % group != 0) group /= 2;
  return group >= kLeast ? group : 0;
}

float quantize_int8(const void* row, Element element, int64_t columns, int64_t rotated, float* scratch, uint8_t* to) {
  return HWY_DYNAMIC_DISPATCH(Quantize)(row, element, columns, rotated, scratch, to);
}

void pack_int8(const int8_t* rows, int64_t out, int64_t in, int8_t* tiles, int32_t* sums) {
  const auto depth = int8_padded_columns(in), all = int8_padded_rows(out);
  at::parallel_for(0, (all + kInt8Tile - 1) / kInt8Tile, 1, [&](int64_t begin, int64_t end) {
    for (auto first = begin * kInt8Tile; first < std::min(all, end * kInt8Tile); first += kInt8Tile) {
      const auto columns = std::min(kInt8Tile, all - first);
      auto* tile = tiles + first * depth;
      std::fill_n(tile, columns * depth, int8_t{0});
      std::fill_n(sums + first, columns, 0);
      for (auto row = first; row < std::min(first + columns, out); ++row) {
        const auto* from = rows + row * in;
        auto* to = tile + (row - first) * 4;
        for (int64_t k = 0; k < in; k += 4)
          std::memcpy(to + k * columns, from + k, static_cast<size_t>(std::min<int64_t>(4, in - k)));
        int32_t sum = 0;
        for (int64_t k = 0; k < in; ++k) sum += from[k];
        sums[row] = 128 * sum;
      }
    }
  });
}

void unpack_int8(const int8_t* tiles, int64_t out, int64_t in, int8_t* rows) {
  const auto depth = int8_padded_columns(in), all = int8_padded_rows(out);
  for (int64_t row = 0; row < out; ++row, rows += in) {
    const auto first = row / kInt8Tile * kInt8Tile, columns = std::min(kInt8Tile, all - first);
    const auto* from = tiles + first * depth + (row - first) * 4;
    for (int64_t k = 0; k < in; k += 4)
      std::memcpy(rows + k, from + k * columns, static_cast<size_t>(std::min<int64_t>(4, in - k)));
  }
}

bool int8_kernel_works() {
  // As deep as models ask for, and a depth that fills no vector.
  static const bool works = sums_are_exact(7680) && sums_are_exact(100);
  return works;
}

void multiply(const Int8Product& p) {
  if (p.rows == 0 || p.out == 0) return;
  const int64_t threads = at::get_num_threads();
  const auto depth = int8_padded_columns(p.in), all = int8_padded_rows(p.out);
  const auto tiles = (all + kInt8Tile - 1) / kInt8Tile;
  // Several blocks for each thread, so that one which the machine slows down holds up none.
  const auto block = std::clamp<int64_t>(padded((p.rows + 4 * threads - 1) / (4 * threads), 32), 32, kBlock);
  const auto blocks = (p.rows + block - 1) / block;
  // With few rows, threads share the tiles of a block, and rows that are made beforehand.
  const bool few = blocks < 2 * threads;
  const auto parts = few ? std::min(tiles, (2 * threads + blocks - 1) / blocks) : 1;
  std::optional<Rows> shared;
  if (few) {
    shared.emplace(p, p.rows);
    at::parallel_for(0, p.rows, std::max<int64_t>(16384 / p.in, 1),
                     [&](int64_t begin, int64_t end) { shared->take(begin, end - begin, begin, scratch_of(p).get()); });
  }
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min(threads, blocks * parts), 1, [&](int64_t, int64_t) {
    std::optional<Rows> own;
    if (!few) own.emplace(p, block);
    const auto scratch = scratch_of(p);
    const auto sums = hwy::AllocateAligned<int32_t>(static_cast<size_t>(block * kInt8Tile));
    for (auto i = next.fetch_add(1); i < blocks * parts; i = next.fetch_add(1)) {
      const auto row = i / parts * block, rows = std::min(block, p.rows - row), part = i % parts;
      if (own) own->take(row, rows, 0, scratch.get());
      const auto& x = own ? *own : *shared;
      const auto place = own ? 0 : row;
      for (auto tile = part * tiles / parts; tile < (part + 1) * tiles / parts; ++tile) {
        const auto first = tile * kInt8Tile;
        multiply_tile(rows, std::min(kInt8Tile, all - first), depth, x.at(place), x.stride(), p.tiles + first * depth,
                      sums.get());
        HWY_DYNAMIC_DISPATCH(Finish)(p, sums.get(), x.scales(place), row, rows, first,
                                     std::min(kInt8Tile, p.out - first));
      }
    }
    at::native::cpublas::brgemm_release();
  });
}

}  // namespace eav
#endif
