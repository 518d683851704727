// Resizes pictures as Pillow does, which the reference pipelines use, to the bit.
#pragma once
#include <ATen/ATen.h>

namespace eav {

enum class Filter { bicubic, lanczos };

// frames [F, H, W, C] uint8 on the CPU -> [F, height, width, C]. Equal to Image.resize of Pillow 13; earlier ones
// differ by some levels where the height shrinks by more than twice what the width does.
at::Tensor resize(const at::Tensor& frames, int64_t height, int64_t width, Filter filter);

}  // namespace eav
