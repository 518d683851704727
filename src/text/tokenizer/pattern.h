// Where a pattern matches in a text, and the ways to cut the text there.
#pragma once
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace eav::text {

// A part of a text, in bytes: a match of a pattern or what lies between two matches.
struct Span {
  size_t begin, end;
  bool match;
};

// Cuts a text into spans that cover it, in order.
using Pattern = std::function<std::vector<Span>(std::string_view text)>;

Pattern whitespace();                          // every white space character by itself
Pattern literal(std::string part);             // every occurrence of `part`
Pattern regex(const std::string& expression);  // throws eav::Error when Oniguruma refuses the expression
Pattern inverse(Pattern pattern);              // swaps matches and what lies between them

// What becomes of the matches when a text is split.
enum class Delimiter { removed, isolated, merged_with_previous, merged_with_next, contiguous };

std::vector<Span> split(const std::vector<Span>& spans, Delimiter delimiter);

// `text` with every match replaced by `replacement`.
std::string replace(std::string_view text, const Pattern& pattern, std::string_view replacement);

}  // namespace eav::text
