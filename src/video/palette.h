// The colours of a video for a format that has only 256 (GIF).
#pragma once
#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <vector>

namespace eav {

class Palette {
 public:
  // Chooses up to 255 colours for all of `frames` (uint8 [F, H, W, 3]), so that nothing flickers between them.
  explicit Palette(const at::Tensor& frames);

  // 0xAARRGGBB. The last one is transparent: GIF says with it that a pixel stays as it was.
  const std::array<uint32_t, 256>& argb() const { return argb_; }
  // Writes row `y` of `width` RGB pixels as palette indices.
  void map_row(const uint8_t* rgb, uint8_t* indices, int64_t width, int64_t y);

 private:
  std::array<uint32_t, 256> argb_{};
  std::vector<std::array<float, 3>> colours_;
  std::vector<int16_t> nearest_;  // cell of the colour cube -> palette index, or -1: not asked for yet
  float dither_ = 0;              // width of the pattern added before mapping, in levels
};

}  // namespace eav
