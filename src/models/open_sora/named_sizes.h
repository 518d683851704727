// The sizes and lengths that Open-Sora v1.2 was trained on, by their names (opensora/datasets/aspect.py).
#pragma once
#include <cstdint>
#include <string>

namespace eav::open_sora {

struct PictureSize {
  int64_t height, width;  // in pixels
};

// `resolution` such as "240p" or "2k"; `aspect` as height:width, such as "9:16". Throws eav::Error that lists the
// names.
PictureSize named_size(const std::string& resolution, const std::string& aspect);

// Frames of "2s", "4s"... or "1x", "2x"... Throws eav::Error that lists the names.
int64_t named_length(const std::string& length);

}  // namespace eav::open_sora
