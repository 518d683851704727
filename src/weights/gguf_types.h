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
struct TensorType {
  uint32_t number;
  at::ScalarType dtype;
  std::optional<Packing> blocks;
};
inline constexpr std::array kTypes{
    TensorType{0, at::kFloat, {}},
    TensorType{1, at::kHalf, {}},
    TensorType{2, at::kByte, Packing::q4_0},
    TensorType{3, at::kByte, Packing::q4_1},
    TensorType{6, at::kByte, Packing::q5_0},
    TensorType{7, at::kByte, Packing::q5_1},
    TensorType{8, at::kByte, Packing::q8_0},
    TensorType{10, at::kByte, Packing::q2_k},
    TensorType{11, at::kByte, Packing::q3_k},
    TensorType{12, at::kByte, Packing::q4_k},
    TensorType{13, at::kByte, Packing::q5_k},
    TensorType{14, at::kByte, Packing::q6_k},
    TensorType{20, at::kByte, Packing::iq4_nl},
    TensorType{23, at::kByte, Packing::iq4_xs},
    TensorType{24, at::kChar, {}},
    TensorType{25, at::kShort, {}},
    TensorType{26, at::kInt, {}},
    TensorType{27, at::kLong, {}},
    TensorType{28, at::kDouble, {}},
    TensorType{30, at::kBFloat16, {}},
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
