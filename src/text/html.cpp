#include "text/html.h"

#include <algorithm>
#include <sstream>
#include <unordered_map>

#include "text/regex.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

constexpr const char* kEntities =
#include "text/html_entities.inc"
    ;

using Entities = std::unordered_map<std::string, std::string>;

Entities read_entities() {
  Entities entities;
  std::istringstream in(kEntities);
  for (std::string name, code_points; in >> name >> code_points;) {
    std::string characters;
    std::istringstream numbers(code_points);
    for (std::string number; std::getline(numbers, number, '+');)
      append_code_point(characters, static_cast<char32_t>(std::stoul(number, nullptr, 16)));
    if (!name.ends_with(';')) entities[name + ";"] = characters;
    entities[name] = std::move(characters);
  }
  return entities;
}

std::string utf8(char32_t c) {
  std::string text;
  append_code_point(text, c);
  return text;
}

// What a reference by number, such as "#65" or "#x41;", stands for. Beyond Unicode all numbers are the same.
std::string numbered(std::string_view reference) {
  const bool hexadecimal = reference[1] == 'x' || reference[1] == 'X';
  char32_t number = 0;
  for (const char c : reference.substr(hexadecimal ? 2 : 1)) {
    if (c == ';') break;
    const auto digit = static_cast<char32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    number = std::min<char32_t>(number * (hexadecimal ? 16 : 10) + digit, 0x110000);
  }
  const bool surrogate = number >= 0xD800 && number <= 0xDFFF;
  if (number == 0 || surrogate || number > 0x10FFFF) return utf8(0xFFFD);
  if (number >= 0x80 && number < 0xA0) return utf8(c1_as_windows_1252(number));
  const bool white_space = number == 0x09 || number == 0x0A || number == 0x0C || number == 0x0D;
  const bool control = (number < 0x20 && !white_space) || number == 0x7F;
  const bool noncharacter = (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
  return control || noncharacter ? "" : utf8(number);
}

// What a reference by name stands for: the longest beginning that is known.
std::string named(std::string_view reference) {
  for (auto end = reference.size(); end > 1; --end)
    if (auto known = html_entity(reference.substr(0, end))) return *known += reference.substr(end);
  return "&" + std::string(reference);
}

}  // namespace

std::optional<std::string> html_entity(std::string_view name) {
  static const auto entities = read_entities();
  const auto found = entities.find(std::string(name));
  return found == entities.end() ? std::nullopt : std::optional(found->second);
}

char32_t c1_as_windows_1252(char32_t c) {
  constexpr std::u32string_view letters =
      U"\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f"
      U"\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178";
  return c >= 0x80 && c < 0xA0 ? letters[c - 0x80] : c;
}

std::string html_unescape(std::string_view text) {
  static const auto references = Regex::python(R"(&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?))");
  return references.replace(text, [&](const Regex::Match& match) {
    const auto reference = match[1].of(text);
    return reference.starts_with('#') ? numbered(reference) : named(reference);
  });
}

}  // namespace eav::text
