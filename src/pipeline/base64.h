// Bytes as text, as in RFC 4648.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace eav {

// Padded.
std::string base64(std::string_view bytes);
// The inverse; nothing where `text` is none.
std::optional<std::string> from_base64(std::string_view text);

}  // namespace eav
