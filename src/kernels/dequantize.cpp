// A block's quants become bytes first, sixteen at a time; then groups of them, which share a scale, become floats. A
// scale times a quant is exact in float32 in every packing, so a fused multiplication rounds as two operations do.
#include "kernels/dequantize.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dequantize.cpp"
#include "kernels/simd-inl.h"
// After simd-inl.h.
#include <algorithm>
#include <array>
#include <cstring>

HWY_BEFORE_NAMESPACE();
namespace eav {
namespace HWY_NAMESPACE {

constexpr int64_t kLanes = hn::MaxLanes(Floats());
constexpr int64_t kSuper = 256;  // elements of a block of the K packings

// ---- floats --------------------------------------------------------------------------------------------------------

HWY_INLINE void store(Vector v, float* to) { hn::StoreU(v, Floats(), to); }

// To the nearest, ties to even.
HWY_INLINE void store(Vector v, c10::BFloat16* to) {
  const hn::RebindToUnsigned<Floats> words;
  const hn::Rebind<uint16_t, Floats> halves;
  const auto bits = hn::BitCast(words, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1u));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7FFFu)));
  const auto no_number = hn::Set(words, 0x7FC00000u);
  const auto kept = hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(v)), no_number, rounded);
  hn::StoreU(hn::TruncateTo(halves, hn::ShiftRight<16>(kept)), halves, reinterpret_cast<uint16_t*>(to));
}

HWY_INLINE Vector widened(const int8_t* from) {
  const hn::Rebind<int8_t, Floats> bytes;
  const hn::RebindToSigned<Floats> words;
  return hn::ConvertTo(Floats(), hn::PromoteTo(words, hn::LoadU(bytes, from)));
}

// to = scale * quants, of kCount, a multiple of 16
template <int64_t kCount, class T>
HWY_INLINE void scaled(const int8_t* quants, float scale, T* to) {
  const auto factor = hn::Set(Floats(), scale);
  HWY_UNROLL(8)
  for (int64_t i = 0; i < kCount; i += kLanes) store(hn::Mul(factor, widened(quants + i)), to + i);
}

// to = scale * quants + offset
template <int64_t kCount, class T>
HWY_INLINE void scaled(const int8_t* quants, float scale, float offset, T* to) {
  const auto factor = hn::Set(Floats(), scale), summand = hn::Set(Floats(), offset);
  HWY_UNROLL(8)
  for (int64_t i = 0; i < kCount; i += kLanes) store(hn::Add(hn::Mul(factor, widened(quants + i)), summand), to + i);
}

HWY_INLINE float half_at(const uint8_t* from) {
  uint16_t bits;
  std::memcpy(&bits, from, sizeof bits);
  return static_cast<float>(c10::Half(bits, c10::Half::from_bits()));
}

// ---- bytes ---------------------------------------------------------------------------------------------------------

#if HWY_TARGET == HWY_SCALAR

struct ByteVector {
  std::array<uint8_t, 16> at;
};

template <class Of>
HWY_INLINE ByteVector each_byte(Of of) {
  ByteVector result;
  for (size_t i = 0; i < 16; ++i) result.at[i] = static_cast<uint8_t>(of(i));
  return result;
}

HWY_INLINE ByteVector load_bytes(const uint8_t* from) {
  return each_byte([&](size_t i) { return from[i]; });
}
HWY_INLINE void store_bytes(const ByteVector& v, int8_t* to) { std::memcpy(to, v.at.data(), 16); }
HWY_INLINE ByteVector either(const ByteVector& a, const ByteVector& b) {
  return each_byte([&](size_t i) { return a.at[i] | b.at[i]; });
}
HWY_INLINE ByteVector less(const ByteVector& v, uint8_t offset) {
  return each_byte([&](size_t i) { return v.at[i] - offset; });
}
template <int kShift>
HWY_INLINE ByteVector raised(const ByteVector& v) {
  return each_byte([&](size_t i) { return v.at[i] << kShift; });
}
template <int kShift, int kBits>
HWY_INLINE ByteVector bits_of(const ByteVector& v) {
  return each_byte([&](size_t i) { return v.at[i] >> kShift & ((1 << kBits) - 1); });
}
template <uint8_t kValue>
HWY_INLINE ByteVector spread(uint16_t bits) {
  return each_byte([&](size_t i) { return bits >> i & 1 ? kValue : 0; });
}
HWY_INLINE ByteVector iq4_values(const ByteVector& indices) {
  return each_byte([&](size_t i) { return kIq4Values[indices.at[i]]; });
}

#else

using Bytes = hn::FixedTag<uint8_t, 16>;
using ByteVector = hn::Vec<Bytes>;

HWY_INLINE ByteVector load_bytes(const uint8_t* from) { return hn::LoadU(Bytes(), from); }
HWY_INLINE void store_bytes(ByteVector v, int8_t* to) { hn::StoreU(v, Bytes(), reinterpret_cast<uint8_t*>(to)); }
HWY_INLINE ByteVector either(ByteVector a, ByteVector b) { return hn::Or(a, b); }
HWY_INLINE ByteVector less(ByteVector v, uint8_t offset) { return hn::Sub(v, hn::Set(Bytes(), offset)); }
template <int kShift>
HWY_INLINE ByteVector raised(ByteVector v) {
  return hn::ShiftLeft<kShift>(v);
}

// The kBits bits of every byte from bit kShift on.
template <int kShift, int kBits>
HWY_INLINE ByteVector bits_of(ByteVector v) {
  const auto mask = hn::Set(Bytes(), static_cast<uint8_t>((1 << kBits) - 1));
  if constexpr (kShift == 0)
    return hn::And(v, mask);
  else if constexpr (kShift + kBits == 8)
    return hn::ShiftRight<kShift>(v);
  else
    return hn::And(hn::ShiftRight<kShift>(v), mask);
}

// Bit i of `bits` in byte i, as kValue or 0.
template <uint8_t kValue>
HWY_INLINE ByteVector spread(uint16_t bits) {
  alignas(16) static constexpr uint8_t kBit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  alignas(16) static constexpr uint8_t kByte[16] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1};
  const hn::Repartition<uint16_t, Bytes> words;
  const auto both = hn::TableLookupBytes(hn::BitCast(Bytes(), hn::Set(words, bits)), hn::Load(Bytes(), kByte));
  const auto bit = hn::Load(Bytes(), kBit);
  return hn::And(hn::VecFromMask(Bytes(), hn::Eq(hn::And(both, bit), bit)), hn::Set(Bytes(), kValue));
}

HWY_INLINE ByteVector iq4_values(ByteVector indices) {
  return hn::TableLookupBytes(load_bytes(reinterpret_cast<const uint8_t*>(kIq4Values.data())), indices);
}

#endif

// ---- packings ------------------------------------------------------------------------------------------------------

template <class T>
HWY_INLINE void q8_0(const uint8_t* block, T* to) {
  scaled<32>(reinterpret_cast<const int8_t*>(block + 2), half_at(block), to);
}

// Sixteen bytes hold the elements 0 to 15 in their lower halves, and 16 to 31 in the upper ones.
template <class T>
HWY_INLINE void q4_0(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[32];
  const auto v = load_bytes(block + 2);
  store_bytes(less(bits_of<0, 4>(v), 8), quants);
  store_bytes(less(bits_of<4, 4>(v), 8), quants + 16);
  scaled<32>(quants, half_at(block), to);
}

template <class T>
HWY_INLINE void q4_1(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[32];
  const auto v = load_bytes(block + 4);
  store_bytes(bits_of<0, 4>(v), quants);
  store_bytes(bits_of<4, 4>(v), quants + 16);
  scaled<32>(quants, half_at(block), half_at(block + 2), to);
}

// The fifth bits of the 32 elements lie in four bytes.
HWY_INLINE void five_bits(const uint8_t* high, const uint8_t* low, uint8_t offset, int8_t* quants) {
  uint16_t fifth[2];
  std::memcpy(fifth, high, sizeof fifth);
  const auto v = load_bytes(low);
  store_bytes(less(either(bits_of<0, 4>(v), spread<16>(fifth[0])), offset), quants);
  store_bytes(less(either(bits_of<4, 4>(v), spread<16>(fifth[1])), offset), quants + 16);
}

template <class T>
HWY_INLINE void q5_0(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[32];
  five_bits(block + 2, block + 6, 16, quants);
  scaled<32>(quants, half_at(block), to);
}

template <class T>
HWY_INLINE void q5_1(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[32];
  five_bits(block + 4, block + 8, 0, quants);
  scaled<32>(quants, half_at(block), half_at(block + 2), to);
}

// 64 bytes of four times two bits: of 32 bytes the lowest two first, then the next two, …
HWY_INLINE void two_bits(const uint8_t* from, int8_t* quants) {
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t i = 0; i < 32; i += 16) {
      const auto v = load_bytes(from + half * 32 + i);
      int8_t* to = quants + half * 128 + i;
      store_bytes(bits_of<0, 2>(v), to);
      store_bytes(bits_of<2, 2>(v), to + 32);
      store_bytes(bits_of<4, 2>(v), to + 64);
      store_bytes(bits_of<6, 2>(v), to + 96);
    }
}

// Subtracts 4 where bit kGroup, that of 32 elements, is 0.
template <int kGroup>
HWY_INLINE void less_4_where_clear(const uint8_t* mask, int8_t* quants) {
  for (int64_t i = 0; i < 32; i += 16) {
    int8_t* at = quants + kGroup * 32 + i;
    const auto third = raised<2>(bits_of<kGroup, 1>(load_bytes(mask + i)));
    store_bytes(less(either(load_bytes(reinterpret_cast<const uint8_t*>(at)), third), 4), at);
  }
}

template <class T>
HWY_INLINE void q2_k(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[kSuper];
  const uint8_t* scales = block;
  two_bits(block + 16, quants);
  const float d = half_at(block + 80), least = half_at(block + 82);
  for (int64_t i = 0; i < 16; ++i)
    scaled<16>(quants + 16 * i, d * static_cast<float>(scales[i] & 15), -(least * static_cast<float>(scales[i] >> 4)),
               to + 16 * i);
}

template <class T>
HWY_INLINE void q3_k(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[kSuper];
  two_bits(block + 32, quants);
  less_4_where_clear<0>(block, quants);
  less_4_where_clear<1>(block, quants);
  less_4_where_clear<2>(block, quants);
  less_4_where_clear<3>(block, quants);
  less_4_where_clear<4>(block, quants);
  less_4_where_clear<5>(block, quants);
  less_4_where_clear<6>(block, quants);
  less_4_where_clear<7>(block, quants);
  // Sixteen scales of six bits: the lower four in eight bytes, the upper two in four.
  const uint8_t* scales = block + 96;
  const float d = half_at(block + 108);
  for (int64_t i = 0; i < 16; ++i) {
    const int low = scales[i % 8] >> (i / 8 * 4) & 15, high = scales[8 + i % 4] >> (i / 4 * 2) & 3;
    scaled<16>(quants + 16 * i, d * static_cast<float>((low | high << 4) - 32), to + 16 * i);
  }
}

// Scale and least number of the group i of eight, six bits each, in twelve bytes.
HWY_INLINE void scale_and_least(const uint8_t* packed, int64_t i, int& scale, int& least) {
  if (i < 4) {
    scale = packed[i] & 63;
    least = packed[i + 4] & 63;
  } else {
    scale = (packed[i + 4] & 15) | (packed[i - 4] >> 6) << 4;
    least = packed[i + 4] >> 4 | (packed[i] >> 6) << 4;
  }
}

template <class T>
HWY_INLINE void scaled_groups(const uint8_t* block, const int8_t* quants, T* to) {
  const float d = half_at(block), least_d = half_at(block + 2);
  for (int64_t i = 0; i < 8; ++i) {
    int scale, least;
    scale_and_least(block + 4, i, scale, least);
    scaled<32>(quants + 32 * i, d * static_cast<float>(scale), -(least_d * static_cast<float>(least)), to + 32 * i);
  }
}

template <class T>
HWY_INLINE void q4_k(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[kSuper];
  for (int64_t i = 0; i < 128; i += 16) {
    const auto v = load_bytes(block + 16 + i);
    int8_t* at = quants + i / 32 * 64 + i % 32;
    store_bytes(bits_of<0, 4>(v), at);
    store_bytes(bits_of<4, 4>(v), at + 32);
  }
  scaled_groups(block, quants, to);
}

// The 64 elements number kPair, whose fifth bits are the bits 2 kPair and 2 kPair + 1 of 32 bytes.
template <int kPair>
HWY_INLINE void five_bits_k(const uint8_t* high, const uint8_t* low, int8_t* quants) {
  for (int64_t i = 0; i < 32; i += 16) {
    const auto v = load_bytes(low + kPair * 32 + i), fifth = load_bytes(high + i);
    int8_t* at = quants + kPair * 64 + i;
    store_bytes(either(bits_of<0, 4>(v), raised<4>(bits_of<2 * kPair, 1>(fifth))), at);
    store_bytes(either(bits_of<4, 4>(v), raised<4>(bits_of<2 * kPair + 1, 1>(fifth))), at + 32);
  }
}

template <class T>
HWY_INLINE void q5_k(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[kSuper];
  five_bits_k<0>(block + 16, block + 48, quants);
  five_bits_k<1>(block + 16, block + 48, quants);
  five_bits_k<2>(block + 16, block + 48, quants);
  five_bits_k<3>(block + 16, block + 48, quants);
  scaled_groups(block, quants, to);
}

template <class T>
HWY_INLINE void q6_k(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[kSuper];
  for (int64_t half = 0; half < 2; ++half)
    for (int64_t i = 0; i < 32; i += 16) {
      const auto left = load_bytes(block + half * 64 + i), right = load_bytes(block + half * 64 + 32 + i);
      const auto high = load_bytes(block + 128 + half * 32 + i);
      int8_t* at = quants + half * 128 + i;
      store_bytes(less(either(bits_of<0, 4>(left), raised<4>(bits_of<0, 2>(high))), 32), at);
      store_bytes(less(either(bits_of<0, 4>(right), raised<4>(bits_of<2, 2>(high))), 32), at + 32);
      store_bytes(less(either(bits_of<4, 4>(left), raised<4>(bits_of<4, 2>(high))), 32), at + 64);
      store_bytes(less(either(bits_of<4, 4>(right), raised<4>(bits_of<6, 2>(high))), 32), at + 96);
    }
  const auto* scales = reinterpret_cast<const int8_t*>(block + 192);
  const float d = half_at(block + 208);
  for (int64_t i = 0; i < 16; ++i) scaled<16>(quants + 16 * i, d * static_cast<float>(scales[i]), to + 16 * i);
}

HWY_INLINE void iq4_quants(const uint8_t* from, int8_t* quants) {
  const auto v = load_bytes(from);
  store_bytes(iq4_values(bits_of<0, 4>(v)), quants);
  store_bytes(iq4_values(bits_of<4, 4>(v)), quants + 16);
}

template <class T>
HWY_INLINE void iq4_nl(const uint8_t* block, T* to) {
  alignas(16) int8_t quants[32];
  iq4_quants(block + 2, quants);
  scaled<32>(quants, half_at(block), to);
}

template <class T>
HWY_INLINE void iq4_xs(const uint8_t* block, T* to) {
  const float d = half_at(block);
  uint16_t high;
  std::memcpy(&high, block + 2, sizeof high);
  for (int64_t i = 0; i < 8; ++i) {
    alignas(16) int8_t quants[32];
    iq4_quants(block + 8 + 16 * i, quants);
    const int scale = (block[4 + i / 2] >> (i % 2 * 4) & 15) | (high >> (2 * i) & 3) << 4;
    scaled<32>(quants, d * static_cast<float>(scale - 32), to + 32 * i);
  }
}

// ---- one byte an element -------------------------------------------------------------------------------------------

// A float8 is a float16 without its last bits; e4m3 has one bit of exponent less, and no infinities.
HWY_INLINE Vector widened_e5m2(const uint8_t* from) {
  const hn::Rebind<uint8_t, Floats> bytes;
  const hn::Rebind<uint16_t, Floats> halves;
  HWY_ALIGN uint16_t narrow[kLanes];
  hn::Store(hn::ShiftLeft<8>(hn::PromoteTo(halves, hn::LoadU(bytes, from))), halves, narrow);
  return load(Floats(), reinterpret_cast<const c10::Half*>(narrow));
}

HWY_INLINE Vector widened_e4m3(const uint8_t* from) {
  const Floats d;
  const hn::Rebind<uint8_t, Floats> bytes;
  const hn::RebindToUnsigned<Floats> words;
  const auto bits = hn::PromoteTo(words, hn::LoadU(bytes, from));
  const auto sign = hn::ShiftLeft<24>(hn::And(bits, hn::Set(words, 0x80u)));
  const auto magnitude = hn::And(bits, hn::Set(words, 0x7Fu));
  // As a float32 with the exponent and the fraction in place, it is too small by 2^120: the difference of the biases.
  // What is subnormal in float8 is so in that float32, whose product some CPUs take for 0: those are whole numbers
  // times 2^-9.
  const auto normal = hn::Mul(hn::BitCast(d, hn::ShiftLeft<20>(magnitude)), hn::Set(d, 0x1p120f));
  const auto small =
      hn::Mul(hn::ConvertTo(d, hn::BitCast(hn::RebindToSigned<Floats>(), magnitude)), hn::Set(d, 0x1p-9f));
  const auto is_small = hn::RebindMask(d, hn::Lt(magnitude, hn::Set(words, 8u)));
  const auto is_no_number = hn::RebindMask(d, hn::Eq(magnitude, hn::Set(words, 0x7Fu)));
  const auto value = hn::IfThenElse(is_no_number, hn::BitCast(d, hn::Set(words, 0x7FC00000u)),
                                    hn::IfThenElse(is_small, small, normal));
  return hn::BitCast(d, hn::Or(hn::BitCast(words, value), sign));
}

HWY_INLINE Vector widened_int8(const uint8_t* from) { return widened(reinterpret_cast<const int8_t*>(from)); }

template <Vector (*kWidened)(const uint8_t*), class T>
HWY_INLINE void bytes_to(const uint8_t* from, int64_t count, float scale, T* to) {
  const auto factor = hn::Set(Floats(), scale);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(hn::Mul(kWidened(from + i), factor), to + i);
  if (i == count) return;
  uint8_t rest[kLanes] = {};
  T last[kLanes];
  std::copy_n(from + i, count - i, rest);
  store(hn::Mul(kWidened(rest), factor), last);
  std::copy_n(last, count - i, to + i);
}

template <class T, void (*kBlock)(const uint8_t*, T*)>
HWY_INLINE void each_block(Packing packing, const uint8_t* from, int64_t blocks, T* to) {
  const auto& layout = layout_of(packing);
  for (int64_t i = 0; i < blocks; ++i) kBlock(from + i * layout.bytes, to + i * layout.elements);
}

template <class T>
HWY_INLINE void unpack(Packing packing, const uint8_t* from, int64_t blocks, float scale, T* to) {
  switch (packing) {
    case Packing::float8_e4m3:
      return bytes_to<widened_e4m3>(from, blocks, scale, to);
    case Packing::float8_e5m2:
      return bytes_to<widened_e5m2>(from, blocks, scale, to);
    case Packing::int8:
      return bytes_to<widened_int8>(from, blocks, scale, to);
    case Packing::q8_0:
      return each_block<T, q8_0<T>>(packing, from, blocks, to);
    case Packing::q4_0:
      return each_block<T, q4_0<T>>(packing, from, blocks, to);
    case Packing::q4_1:
      return each_block<T, q4_1<T>>(packing, from, blocks, to);
    case Packing::q5_0:
      return each_block<T, q5_0<T>>(packing, from, blocks, to);
    case Packing::q5_1:
      return each_block<T, q5_1<T>>(packing, from, blocks, to);
    case Packing::q2_k:
      return each_block<T, q2_k<T>>(packing, from, blocks, to);
    case Packing::q3_k:
      return each_block<T, q3_k<T>>(packing, from, blocks, to);
    case Packing::q4_k:
      return each_block<T, q4_k<T>>(packing, from, blocks, to);
    case Packing::q5_k:
      return each_block<T, q5_k<T>>(packing, from, blocks, to);
    case Packing::q6_k:
      return each_block<T, q6_k<T>>(packing, from, blocks, to);
    case Packing::iq4_nl:
      return each_block<T, iq4_nl<T>>(packing, from, blocks, to);
    case Packing::iq4_xs:
      return each_block<T, iq4_xs<T>>(packing, from, blocks, to);
  }
}

void ToFloats(Packing packing, const uint8_t* from, int64_t blocks, float scale, float* to) {
  unpack(packing, from, blocks, scale, to);
}

void ToBfloats(Packing packing, const uint8_t* from, int64_t blocks, float scale, c10::BFloat16* to) {
  unpack(packing, from, blocks, scale, to);
}

}  // namespace HWY_NAMESPACE
}  // namespace eav
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(ToFloats);
HWY_EXPORT(ToBfloats);
}  // namespace

void dequantize(Packing packing, const uint8_t* from, int64_t blocks, float scale, float* to) {
  HWY_DYNAMIC_DISPATCH(ToFloats)(packing, from, blocks, scale, to);
}

void dequantize(Packing packing, const uint8_t* from, int64_t blocks, float scale, c10::BFloat16* to) {
  HWY_DYNAMIC_DISPATCH(ToBfloats)(packing, from, blocks, scale, to);
}

}  // namespace eav
#endif
