// Bytes as text, as in RFC 4648.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace eav {

// Padded.
std::string base64(std::string_view bytes);
// The inverse; nothing where `text` is none.
std::optional<std::string> from_base64(std::string_view text);

// Numbers as float16, little endian, and the inverse.
std::string half_base64(std::span<const float> values);
std::optional<std::vector<float>> from_half_base64(std::string_view text);

}  // namespace eav
