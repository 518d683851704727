// Rewriting texts as programs in Python do it with `re` and `str`.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/regex.h"

namespace eav::text {

// A regular expression of Python's `re`, and what its matches become, where \1 is the first group.
struct Rule {
  Rule(std::string_view expression, std::string_view by) : pattern(Regex::python(expression)), replacement(by) {}

  std::string operator()(const std::string& text) const;

  Regex pattern;
  std::string replacement;
};
using Rules = std::vector<Rule>;

// One after the other.
std::string apply(const Rules& rules, std::string text);

// str.strip()
std::string python_stripped(const std::string& text);

}  // namespace eav::text
