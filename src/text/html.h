// Text out of HTML, as Python reads it: its package html, and Beautiful Soup on its html.parser.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace eav::text {

// What a named character reference stands for; `name` is without "&", and has a ";" at its end or not, as it is listed.
std::optional<std::string_view> html_entity(std::string_view name);

// The character that Windows-1252 has at a C1 control's place, U+0080 to U+009F; other characters are themselves.
char32_t c1_as_windows_1252(char32_t c);

// html.unescape: character references become what they stand for, named ones also where only their beginning is known.
std::string html_unescape(std::string_view text);

// BeautifulSoup(text, "html.parser").text: no tags, comments and declarations, and nothing of what is in <script>,
// <style>, <template>, <rt> and <rp>; "<" and "&" that begin nothing stay. Tags must be in lower case. A marked section
// that html.parser refuses ("<![" with an unknown name) leaves all of the text as it is.
std::string html_text(std::string_view text);

}  // namespace eav::text
