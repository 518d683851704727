#include "kernels/winograd.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/winograd.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <hwy/aligned_allocator.h>

#include <algorithm>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kElements = 16;       // of a transformed 4x4 patch
constexpr int64_t kPanel = 2 * kLanes;  // output channels that are computed together
constexpr int64_t kRows = 6;            // and tiles: 12 sums stay in registers
constexpr int64_t kPatches = 96;        // of all frames, whose transforms stay in the cache

int64_t panels(const WinogradConv& conv) { return (conv.out + kPanel - 1) / kPanel; }
int64_t depth(const WinogradConv& conv) { return conv.taps * conv.in; }

// Whether an element is zero in every patch: an enlarged one's middle rows are the same, and so are its columns.
bool vanishes(const WinogradConv& conv, int64_t element) {
  return conv.enlarge && (element / 4 == 2 || element % 4 == 2);
}

size_t PackedSize(const WinogradConv& conv) {
  return static_cast<size_t>(kElements * panels(conv) * depth(conv) * kPanel);
}

// ---- weights: G g G^T for every pair of channels, as [element][panel][tap, in][kPanel] ------------------------------

void Pack(const WinogradConv& conv, int64_t begin, int64_t end) {
  const auto element_stride = panels(conv) * depth(conv) * kPanel;
  for (int64_t o = begin; o < end; ++o) {
    for (int64_t i = 0; i < conv.in; ++i) {
      for (int64_t tap = 0; tap < conv.taps; ++tap) {
        const float* g = conv.weight + ((o * conv.in + i) * conv.taps + tap) * 9;
        float* to = conv.packed + (o / kPanel * depth(conv) + tap * conv.in + i) * kPanel + o % kPanel;
        float rows[4][3];
        for (int x = 0; x < 3; ++x) {
          const float outer = g[x] + g[6 + x], inner = g[3 + x];
          rows[0][x] = g[x];
          rows[1][x] = 0.5f * (outer + inner);
          rows[2][x] = 0.5f * (outer - inner);
          rows[3][x] = g[6 + x];
        }
        for (const auto& row : rows) {
          const float outer = row[0] + row[2];
          for (const float element : {row[0], 0.5f * (outer + row[1]), 0.5f * (outer - row[1]), row[2]}) {
            *to = element;
            to += element_stride;
          }
        }
      }
    }
  }
}

// ---- patches: B^T d B for every channel of a tile's 4x4 positions ---------------------------------------------------

// to[element * stride + c] for the tile whose results begin at (2y, 2x).
template <class T>
HWY_INLINE void transform_patch(const WinogradConv& conv, const T* frame, int64_t y, int64_t x, float* to,
                                int64_t stride) {
  const Floats d;
  const int64_t scale = conv.enlarge ? 2 : 1, width = conv.width / scale;
  const auto border = [&](int64_t at, int64_t end) {
    return conv.replicate ? std::clamp<int64_t>(at, 0, end - 1) : at;
  };
  const T* from[4][4];  // null outside the frame
  for (int64_t r = 0; r < 4; ++r)
    for (int64_t s = 0; s < 4; ++s) {
      const auto row = border(2 * y - 1 + r, conv.height), column = border(2 * x - 1 + s, conv.width);
      const bool inside = row >= 0 && row < conv.height && column >= 0 && column < conv.width;
      from[r][s] = inside ? frame + (row / scale * width + column / scale) * conv.in : nullptr;
    }
  for (int64_t c = 0; c < conv.in; c += kLanes) {
    const auto n = conv.in - c;
    const auto load = [&](int64_t r, int64_t s)
                          HWY_ATTR { return from[r][s] == nullptr ? hn::Zero(d) : load_some(from[r][s] + c, n); };
    const auto store = [&](Vector v, int64_t element) HWY_ATTR { store_some(v, to + element * stride + c, n); };
    Vector rows[4][4];
    for (int64_t s = 0; s < 4; ++s) {
      const auto a = load(0, s), b = load(1, s), e = load(2, s), f = load(3, s);
      rows[0][s] = hn::Sub(a, e);
      rows[1][s] = hn::Add(b, e);
      rows[2][s] = hn::Sub(e, b);
      rows[3][s] = hn::Sub(b, f);
    }
    for (int64_t r = 0; r < 4; ++r) {
      const auto& row = rows[r];
      store(hn::Sub(row[0], row[2]), 4 * r);
      store(hn::Add(row[1], row[2]), 4 * r + 1);
      store(hn::Sub(row[2], row[1]), 4 * r + 2);
      store(hn::Sub(row[1], row[3]), 4 * r + 3);
    }
  }
}

// ---- products: for each element, tiles times channels ---------------------------------------------------------------

// to [R, kPanel] = patches [R, taps * in] x panel [taps * in, kPanel]; a row's taps lie `tap_stride` apart.
template <int64_t R>
HWY_INLINE void multiply(const WinogradConv& conv, const float* patches, int64_t tap_stride, const float* panel,
                         float* to, int64_t to_stride) {
  const Floats d;
  Vector sums[R][2];
  for (auto& row : sums) row[0] = row[1] = hn::Zero(d);
  for (int64_t tap = 0; tap < conv.taps; ++tap) {
    const float* from = patches + tap * tap_stride;
    for (int64_t c = 0; c < conv.in; ++c, panel += kPanel) {
      const auto left = hn::LoadU(d, panel), right = hn::LoadU(d, panel + kLanes);
      HWY_UNROLL(kRows)
      for (int64_t r = 0; r < R; ++r) {
        const auto patch = hn::Set(d, from[r * conv.in + c]);
        sums[r][0] = hn::MulAdd(patch, left, sums[r][0]);
        sums[r][1] = hn::MulAdd(patch, right, sums[r][1]);
      }
    }
  }
  for (int64_t r = 0; r < R; ++r) {
    hn::StoreU(sums[r][0], d, to + r * to_stride);
    hn::StoreU(sums[r][1], d, to + r * to_stride + kLanes);
  }
}

void multiply_all(const WinogradConv& conv, int64_t rows, const float* patches, int64_t tap_stride,
                  const float* weights, float* to) {
  const auto width = panels(conv) * kPanel;
  for (int64_t p = 0; p < panels(conv); ++p, weights += depth(conv) * kPanel) {
    for (int64_t r = 0; r < rows; r += kRows) {
      const float* from = patches + r * conv.in;
      float* place = to + r * width + p * kPanel;
      switch (std::min(kRows, rows - r)) {
        case 1:
          multiply<1>(conv, from, tap_stride, weights, place, width);
          break;
        case 2:
          multiply<2>(conv, from, tap_stride, weights, place, width);
          break;
        case 3:
          multiply<3>(conv, from, tap_stride, weights, place, width);
          break;
        case 4:
          multiply<4>(conv, from, tap_stride, weights, place, width);
          break;
        case 5:
          multiply<5>(conv, from, tap_stride, weights, place, width);
          break;
        default:
          multiply<6>(conv, from, tap_stride, weights, place, width);
      }
    }
  }
}

// ---- results: A^T m A and the bias ----------------------------------------------------------------------------------

template <class T>
HWY_INLINE void finish_tile(const WinogradConv& conv, const float* products, int64_t stride, T* frame, int64_t y,
                            int64_t x) {
  const Floats d;
  for (int64_t c = 0; c < conv.out; c += kLanes) {
    const auto n = conv.out - c;
    Vector rows[2][4];
    for (int64_t s = 0; s < 4; ++s) {
      const auto m = [&](int64_t r) HWY_ATTR { return hn::LoadU(d, products + (4 * r + s) * stride + c); };
      const auto inner = m(1), next = m(2);
      rows[0][s] = hn::Add(hn::Add(m(0), inner), next);
      rows[1][s] = hn::Sub(hn::Sub(inner, next), m(3));
    }
    const auto bias = conv.bias ? load_some(conv.bias + c, n) : hn::Zero(d);
    for (int64_t r = 0; r < 2 && 2 * y + r < conv.height; ++r) {
      const auto& row = rows[r];
      const Vector results[2] = {hn::Add(hn::Add(row[0], row[1]), row[2]), hn::Sub(hn::Sub(row[1], row[2]), row[3])};
      for (int64_t s = 0; s < 2 && 2 * x + s < conv.width; ++s) {
        T* place = frame + ((2 * y + r) * conv.width + 2 * x + s) * conv.out + c;
        auto result = hn::Add(results[s], bias);
        if (conv.add) result = hn::Add(result, load_some(place, n));
        store_some(result, place, n);
      }
    }
  }
}

template <class T>
void convolve(const WinogradConv& conv, int64_t begin, int64_t end) {
  const auto across = (conv.width + 1) / 2, past = conv.taps - 1, width = panels(conv) * kPanel;
  const auto step = std::max(kRows, kPatches / (conv.frames + past));  // tiles at once
  const auto patch_rows = (conv.frames + past) * step, product_rows = conv.frames * step;
  const auto patches = hwy::AllocateAligned<float>(static_cast<size_t>(kElements * patch_rows * conv.in));
  const auto products = hwy::AllocateAligned<float>(static_cast<size_t>(kElements * product_rows * width));
  for (int64_t e = 0; e < kElements; ++e)
    if (vanishes(conv, e)) std::fill_n(products.get() + e * product_rows * width, product_rows * width, 0.0f);

  for (int64_t first = begin; first < end; first += step) {
    const auto tiles = std::min(step, end - first);
    // [element][frame, tile][in]: what a result sees of the frames before it lies a multiple of `tiles` rows earlier.
    for (int64_t t = 0; t < conv.frames + past; ++t)
      for (int64_t i = 0; i < tiles; ++i)
        transform_patch(conv, static_cast<const T*>(conv.input[t]), (first + i) / across, (first + i) % across,
                        patches.get() + (t * tiles + i) * conv.in, patch_rows * conv.in);
    // [element][frame, tile][out, padded to whole panels]
    for (int64_t e = 0; e < kElements; ++e) {
      if (vanishes(conv, e)) continue;
      multiply_all(conv, conv.frames * tiles, patches.get() + e * patch_rows * conv.in, tiles * conv.in,
                   conv.packed + e * panels(conv) * depth(conv) * kPanel, products.get() + e * product_rows * width);
    }
    for (int64_t t = 0; t < conv.frames; ++t)
      for (int64_t i = 0; i < tiles; ++i)
        finish_tile(conv, products.get() + (t * tiles + i) * width, product_rows * width,
                    static_cast<T*>(conv.result[t]), (first + i) / across, (first + i) % across);
  }
}

void Convolve(const WinogradConv& conv, int64_t begin, int64_t end) {
  if (conv.element == Element::bfloat16) return convolve<c10::BFloat16>(conv, begin, end);
  convolve<float>(conv, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(PackedSize);
HWY_EXPORT(Pack);
HWY_EXPORT(Convolve);
}  // namespace

size_t winograd_packed_size(const WinogradConv& conv) { return HWY_DYNAMIC_DISPATCH(PackedSize)(conv); }

void winograd_pack(const WinogradConv& conv, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(Pack)(conv, begin, end);
}

void winograd_convolve(const WinogradConv& conv, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(Convolve)(conv, begin, end);
}

}  // namespace eav
#endif
