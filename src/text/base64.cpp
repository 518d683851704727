#include "text/base64.h"

#include <ATen/ATen.h>

#include <cstdint>

namespace eav {
namespace {

constexpr std::string_view kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

}  // namespace

std::string base64(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t k) { return k < bytes.size() ? uint32_t{static_cast<uint8_t>(bytes[k])} : 0; };
    const uint32_t three = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    for (const int shift : {18, 12, 6, 0}) text += kLetters[three >> shift & 63];
  }
  const size_t missing = (3 - bytes.size() % 3) % 3;
  return text.replace(text.size() - missing, missing, missing, '=');
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  const size_t missing = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t four = 0;
    for (size_t k = i; k < i + 4; ++k) {
      const auto value = k < text.size() - missing ? kLetters.find(text[k]) : 0;
      if (value == kLetters.npos) return std::nullopt;
      four = four << 6 | static_cast<uint32_t>(value);
    }
    bytes += {static_cast<char>(four >> 16), static_cast<char>(four >> 8 & 255), static_cast<char>(four & 255)};
  }
  return bytes.substr(0, bytes.size() - missing);
}

std::string half_base64(std::span<const float> values) {
  std::string bytes;
  for (const float value : values) {
    const uint16_t bits = at::Half(value).x;
    bytes += {static_cast<char>(bits & 255), static_cast<char>(bits >> 8)};
  }
  return base64(bytes);
}

std::optional<std::vector<float>> from_half_base64(std::string_view text) {
  const auto bytes = from_base64(text);
  if (!bytes || bytes->size() % 2 != 0) return std::nullopt;
  std::vector<float> values;
  for (size_t i = 0; i < bytes->size(); i += 2) {
    const auto low = static_cast<uint8_t>((*bytes)[i]), high = static_cast<uint8_t>((*bytes)[i + 1]);
    values.push_back(at::Half(static_cast<uint16_t>(low | high << 8), at::Half::from_bits()));
  }
  return values;
}

}  // namespace eav
