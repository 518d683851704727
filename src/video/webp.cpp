#include "video/webp.h"

#include <ATen/ops/empty.h>
#include <webp/decode.h>

#include <array>
#include <string_view>

#include "base/regular_file.h"

namespace eav {

std::optional<at::Tensor> read_webp(const std::filesystem::path& file) {
  std::array<char, 12> head{};  // "RIFF", the length, "WEBP"
  RegularFile(file).read(0, head.data(), head.size());
  const std::string_view text(head.data(), head.size());
  if (!text.starts_with("RIFF") || !text.ends_with("WEBP")) return std::nullopt;

  const auto file_bytes = read_file(file);
  const auto* bytes = reinterpret_cast<const uint8_t*>(file_bytes.data());
  // The format's sides have 14 bits: no picture has more than 2^28 pixels.
  WebPBitstreamFeatures picture{};
  if (WebPGetFeatures(bytes, file_bytes.size(), &picture) != VP8_STATUS_OK || picture.has_animation != 0)
    return at::Tensor();
  auto frame = at::empty({picture.height, picture.width, 3}, at::kByte);
  if (WebPDecodeRGBInto(bytes, file_bytes.size(), frame.data_ptr<uint8_t>(), frame.nbytes(), picture.width * 3) ==
      nullptr)
    return at::Tensor();
  return frame;
}

}  // namespace eav
