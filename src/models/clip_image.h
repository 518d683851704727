// Pictures as CLIP's vision tower takes them (transformers' CLIPImageProcessor, with Pillow).
#pragma once
#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <optional>

#include "weights/config.h"

namespace eav {

struct ClipImageProcessor {
  // Either the shorter side's pixels, the other following, or both sides'.
  std::optional<int64_t> shortest_edge;
  int64_t height, width;  // of the resized picture, where there is no shortest edge
  bool resizes, crops, rescales, normalizes;
  int64_t crop_height, crop_width;  // around the middle
  bool lanczos;                     // bicubic otherwise
  double rescale_factor;            // a colour of 0..255 is multiplied by it
  std::array<double, 3> mean, std;

  // Reads a preprocessor_config.json. Throws eav::Error that names the field for what is not supported.
  explicit ClipImageProcessor(const JsonFile& json);

  // picture [H, W, 3] uint8 -> [1, 3, crop_height, crop_width] float32
  at::Tensor operator()(const at::Tensor& picture) const;
};

}  // namespace eav
