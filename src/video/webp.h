// WebP pictures.
#pragma once
#include <ATen/core/Tensor.h>

#include <filesystem>
#include <optional>

namespace eav {

// The picture of a WebP file, uint8 [H, W, 3], RGB, without transparency; none where the file is no WebP, and an
// undefined tensor where it is damaged or animated. Throws eav::Error as RegularFile does. Read by libwebp, as Pillow
// does: on some damaged files FFmpeg 5.1 ends the process.
std::optional<at::Tensor> read_webp(const std::filesystem::path& file);

}  // namespace eav
