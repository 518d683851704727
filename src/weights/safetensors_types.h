// The names of element types in a .safetensors file.
#pragma once
#include <ATen/ATen.h>

#include <array>

namespace eav {

struct SafetensorsType {
  const char* name;
  at::ScalarType dtype;
};
inline constexpr std::array kSafetensorsTypes{
    SafetensorsType{"F64", at::kDouble},
    SafetensorsType{"F32", at::kFloat},
    SafetensorsType{"F16", at::kHalf},
    SafetensorsType{"BF16", at::kBFloat16},
    SafetensorsType{"I64", at::kLong},
    SafetensorsType{"I32", at::kInt},
    SafetensorsType{"I16", at::kShort},
    SafetensorsType{"I8", at::kChar},
    SafetensorsType{"U8", at::kByte},
    SafetensorsType{"BOOL", at::kBool},
    SafetensorsType{"F8_E4M3", at::kFloat8_e4m3fn},
    SafetensorsType{"F8_E5M2", at::kFloat8_e5m2},
};

// Null for a type that the format does not have.
constexpr const char* name_of_dtype(at::ScalarType dtype) {
  for (const auto& type : kSafetensorsTypes)
    if (type.dtype == dtype) return type.name;
  return nullptr;
}

}  // namespace eav
