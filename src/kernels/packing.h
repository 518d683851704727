// How numbers of few bits lie in memory: in blocks of so many elements and bytes, as GGUF lays them out (the types of
// ggml), or one in a byte.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>

namespace eav {

enum class Packing {
  float8_e4m3,
  float8_e5m2,
  int8,
  q8_0,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
  iq4_xs,
};

struct PackingLayout {
  Packing packing;
  const char* name;
  int64_t elements, bytes;  // of a block
};

inline constexpr std::array kPackings{
    PackingLayout{Packing::float8_e4m3, "float8_e4m3", 1, 1},
    PackingLayout{Packing::float8_e5m2, "float8_e5m2", 1, 1},
    PackingLayout{Packing::int8, "int8", 1, 1},
    PackingLayout{Packing::q8_0, "q8_0", 32, 34},
    PackingLayout{Packing::q4_0, "q4_0", 32, 18},
    PackingLayout{Packing::q4_1, "q4_1", 32, 20},
    PackingLayout{Packing::q5_0, "q5_0", 32, 22},
    PackingLayout{Packing::q5_1, "q5_1", 32, 24},
    PackingLayout{Packing::q2_k, "q2_k", 256, 84},
    PackingLayout{Packing::q3_k, "q3_k", 256, 110},
    PackingLayout{Packing::q4_k, "q4_k", 256, 144},
    PackingLayout{Packing::q5_k, "q5_k", 256, 176},
    PackingLayout{Packing::q6_k, "q6_k", 256, 210},
    PackingLayout{Packing::iq4_nl, "iq4_nl", 32, 18},
    PackingLayout{Packing::iq4_xs, "iq4_xs", 256, 136},
};

constexpr const PackingLayout& layout_of(Packing packing) { return kPackings[static_cast<size_t>(packing)]; }

// The numbers that the four bits of iq4_nl and iq4_xs stand for.
inline constexpr std::array<int8_t, 16> kIq4Values{-127, -104, -83, -65, -49, -35, -22, -10,
                                                   1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace eav
