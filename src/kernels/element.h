// The types of elements that kernels read; they compute in float32.
#pragma once
#include <c10/core/ScalarType.h>

#include <optional>

namespace eav {

enum class Element { float32, bfloat16, float16 };

// Nothing where kernels do not read that type.
inline std::optional<Element> element_of(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return Element::float32;
    case at::kBFloat16:
      return Element::bfloat16;
    case at::kHalf:
      return Element::float16;
    default:
      return std::nullopt;
  }
}

}  // namespace eav
