#include "video/webp.h"

#include <ATen/ops/empty.h>
#include <webp/decode.h>

#include <array>
#include <string_view>
#include <vector>

namespace eav {

std::optional<at::Tensor> read_webp(const RegularFile& file) {
  std::array<char, 12> head{};  // "RIFF", the length, "WEBP"
  file.read(0, head.data(), head.size());
  const std::string_view text(head.data(), head.size());
  if (!text.starts_with("RIFF") || !text.ends_with("WEBP")) return std::nullopt;

  std::vector<uint8_t> bytes(static_cast<size_t>(file.size()));
  for (size_t at = 0; at < bytes.size();) {
    const auto got = file.read(static_cast<int64_t>(at), bytes.data() + at, bytes.size() - at);
    if (got <= 0) return at::Tensor();
    at += static_cast<size_t>(got);
  }
  // The format's sides have 14 bits: no picture has more than 2^28 pixels.
  WebPBitstreamFeatures picture{};
  if (WebPGetFeatures(bytes.data(), bytes.size(), &picture) != VP8_STATUS_OK || picture.has_animation != 0)
    return at::Tensor();
  auto frame = at::empty({picture.height, picture.width, 3}, at::kByte);
  if (WebPDecodeRGBInto(bytes.data(), bytes.size(), frame.data_ptr<uint8_t>(), frame.nbytes(), picture.width * 3) ==
      nullptr)
    return at::Tensor();
  return frame;
}

}  // namespace eav
