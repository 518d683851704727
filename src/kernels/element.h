// The types of elements that kernels read; they compute in float32.
#pragma once

namespace eav {

enum class Element { float32, bfloat16, float16 };

}  // namespace eav
