// WebP pictures.
#pragma once
#include <ATen/core/Tensor.h>

#include <optional>

#include "base/regular_file.h"

namespace eav {

// The picture of a WebP file, uint8 [H, W, 3], RGB, without transparency; none where the file is no WebP, and an
// undefined tensor where it is damaged or animated. Read by libwebp, as Pillow does: on some damaged files FFmpeg 5.1
// ends the process.
std::optional<at::Tensor> read_webp(const RegularFile& file);

}  // namespace eav
