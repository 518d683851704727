#include "text/ftfy.h"

#include <algorithm>
#include <map>
#include <utility>

#include "text/html.h"
#include "text/regex.h"
#include "text/rules.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

// ftfy.fixes.unescape_html: only references that end with ";"; names may also be in upper case altogether.
std::string with_references_unescaped(const std::string& text) {
  static const auto reference = Regex::python("&#?[0-9A-Za-z]{1,24};");
  return reference.replace(text, [&](const Regex::Match& match) {
    const std::string whole(match[0].of(text));
    const auto name = whole.substr(1);
    if (const auto known = html_entity(name)) return *known;
    const auto unescaped = html_unescape(whole);
    if (name.starts_with('#')) return unescaped.find(';') == unescaped.npos ? unescaped : whole;
    const bool upper = std::ranges::none_of(name, [](char c) { return c >= 'a' && c <= 'z'; });
    const auto lower = upper && unescaped == whole ? html_entity(lowercase(name)) : std::nullopt;
    return lower ? uppercase(*lower) : whole;
  });
}

// What one character becomes in ftfy: C1 controls are taken for Windows-1252, letters that are two are written as two,
// forms of half and full width as all others, curly quotes as straight ones, control characters not at all.
std::string plain(char32_t c) {
  static const std::map<char32_t, std::string> ligatures{
      {U'Ĳ', "IJ"}, {U'ĳ', "ij"}, {U'ŉ', "ʼn"},  {U'Ǳ', "DZ"},  {U'ǲ', "Dz"}, {U'ǳ', "dz"}, {U'Ǆ', "DŽ"}, {U'ǅ', "Dž"},
      {U'ǆ', "dž"}, {U'Ǉ', "LJ"}, {U'ǈ', "Lj"},  {U'ǉ', "lj"},  {U'Ǌ', "NJ"}, {U'ǋ', "Nj"}, {U'ǌ', "nj"}, {U'ﬀ', "ff"},
      {U'ﬁ', "fi"}, {U'ﬂ', "fl"}, {U'ﬃ', "ffi"}, {U'ﬄ', "ffl"}, {U'ﬅ', "ſt"}, {U'ﬆ', "st"}};
  if (const auto found = ligatures.find(c); found != ligatures.end()) return found->second;
  std::string character;
  append_code_point(character, c1_as_windows_1252(c));
  if (c == 0x3000) return " ";
  return c > 0xFF00 && c < 0xFFF0 ? normalize(character, NormalForm::KC) : character;
}

std::string with_plain_characters(const std::string& text) {
  std::string result;
  for (size_t i = 0; i < text.size(); i += code_point_length(text, i)) result += plain(code_point(text, i));
  return result;
}

// A line as ftfy.fix_text leaves it, but for its repair of encodings.
std::string fixed_line(std::string line, bool unescapes) {
  static const Rules rules{
      {R"([\u201c-\u201f])", "\""},
      {R"([\u02bc\u2018-\u201b])", "'"},
      {R"(\r\n|[\r\u2028\u2029\u0085])", "\n"},
      {R"(\x1b\[((?:\d|;)*)([a-zA-Z]))", ""},  // colours of a terminal
      {R"([\x00-\x08\x0b\x0e-\x1f\x7f\u206a-\u206f\ufeff\ufff9-\ufffc])", ""},
  };
  for (;;) {
    auto fixed = unescapes ? with_references_unescaped(line) : line;
    fixed = nfc(apply(rules, with_plain_characters(fixed)));
    if (fixed == line) return line;
    line = std::move(fixed);
  }
}

}  // namespace

// Line by line; from the first "<" on, character references are left alone.
std::string fix_text(const std::string& text) {
  std::string result;
  bool unescapes = true;
  for (size_t begin = 0; begin < text.size();) {
    const auto line_end = text.find('\n', begin);
    const auto end = line_end == text.npos ? text.size() : line_end + 1;
    const auto line = text.substr(begin, end - begin);
    unescapes = unescapes && line.find('<') == line.npos;
    result += fixed_line(line, unescapes);
    begin = end;
  }
  return result;
}

}  // namespace eav::text
