// Reads videos and pictures.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>

namespace eav {

// The frames of a video or picture that FFmpeg can read, [F, H, W, 3] uint8 on the CPU, RGB, upright (a rotation that
// the file asks for is done), without transparency (the colours below it are kept). At most `most` frames; 0: all.
// Throws eav::Error that names the file when it cannot be read, is neither, or ends early.
at::Tensor read_frames(const std::filesystem::path& file, int64_t most = 0);

}  // namespace eav
