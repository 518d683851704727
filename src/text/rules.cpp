#include "text/rules.h"

#include <utility>

#include "text/tokenizer/unicode.h"

namespace eav::text {

std::string Rule::operator()(const std::string& text) const {
  return pattern.replace(text, [&](const Regex::Match& match) {
    const auto group = replacement.find("\\1");
    if (group == replacement.npos) return replacement;
    return std::string(replacement).replace(group, 2, match[1].of(text));
  });
}

std::string apply(const Rules& rules, std::string text) {
  for (const auto& rule : rules) text = rule(text);
  return text;
}

std::string python_stripped(const std::string& text) {
  const auto is_space = [](char32_t c) { return is_whitespace(c) || (c >= 0x1C && c <= 0x1F); };
  size_t begin = 0, end = text.size();
  while (begin < end && is_space(code_point(text, begin))) begin += code_point_length(text, begin);
  for (size_t start; end > begin; end = start) {
    start = code_point_start(text, end);
    if (!is_space(code_point(text, start))) break;
  }
  return text.substr(begin, end - begin);
}

}  // namespace eav::text
