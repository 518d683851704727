// What numbers stand for in a GGUF file (github.com/ggml-org/ggml, docs/gguf.md).
#pragma once
#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kernels/packing.h"

namespace eav::gguf {

constexpr std::string_view kMagic = "GGUF";
constexpr uint32_t kVersion = 3;
constexpr uint64_t kDefaultAlignment = 32;                             // of data
constexpr std::string_view kOriginalShape = "comfy.gguf.orig_shape.";  // of a tensor that has another in the file

// A tensor's type.
struct Type {
  uint32_t number;
  at::ScalarType dtype;
  std::optional<Packing> blocks;
};
inline constexpr std::array kTypes{
    Type{0, at::kFloat, {}},
    Type{1, at::kHalf, {}},
    Type{2, at::kByte, Packing::q4_0},
    Type{3, at::kByte, Packing::q4_1},
    Type{6, at::kByte, Packing::q5_0},
    Type{7, at::kByte, Packing::q5_1},
    Type{8, at::kByte, Packing::q8_0},
    Type{10, at::kByte, Packing::q2_k},
    Type{11, at::kByte, Packing::q3_k},
    Type{12, at::kByte, Packing::q4_k},
    Type{13, at::kByte, Packing::q5_k},
    Type{14, at::kByte, Packing::q6_k},
    Type{20, at::kByte, Packing::iq4_nl},
    Type{23, at::kByte, Packing::iq4_xs},
    Type{24, at::kChar, {}},
    Type{25, at::kShort, {}},
    Type{26, at::kInt, {}},
    Type{27, at::kLong, {}},
    Type{28, at::kDouble, {}},
    Type{30, at::kBFloat16, {}},
};

// A value's type.
enum class ValueType : uint32_t {
  uint8,
  int8,
  uint16,
  int16,
  uint32,
  int32,
  float32,
  boolean,
  string,
  array,
  uint64,
  int64,
  float64,
};

}  // namespace eav::gguf
