// Character references of HTML ("&eacute;", "&#233;"), unescaped as Python's package html does it.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace eav::text {

// What a named character reference stands for; `name` is without "&", and has a ";" at its end or not, as it is listed.
std::optional<std::string> html_entity(std::string_view name);

// The character that Windows-1252 has at a C1 control's place, U+0080 to U+009F; other characters are themselves.
char32_t c1_as_windows_1252(char32_t c);

// html.unescape: character references become what they stand for, named ones also where only their beginning is known.
std::string html_unescape(std::string_view text);

}  // namespace eav::text
