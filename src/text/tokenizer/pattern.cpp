#include "text/tokenizer/pattern.h"

#include <optional>
#include <utility>

#include "text/regex.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

// Collects matches, and fills in what lies between them.
class Spans {
 public:
  explicit Spans(std::string_view text) : size_(text.size()) {}

  void match(size_t begin, size_t end) {
    gap(begin);
    spans_.push_back({begin, end, true});
    covered_ = end;
  }
  std::vector<Span> finish() {
    gap(size_);
    return std::move(spans_);
  }

 private:
  void gap(size_t until) {
    if (covered_ < until) spans_.push_back({covered_, until, false});
  }

  size_t size_, covered_ = 0;
  std::vector<Span> spans_;
};

}  // namespace

Pattern whitespace() {
  return [](std::string_view text) {
    Spans spans(text);
    for (size_t i = 0, length; i < text.size(); i += length) {
      length = code_point_length(text, i);
      if (is_whitespace(code_point(text, i))) spans.match(i, i + length);
    }
    return spans.finish();
  };
}

Pattern literal(std::string part) {
  return [part = std::move(part)](std::string_view text) {
    Spans spans(text);
    if (!part.empty())
      for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
        spans.match(at, at + part.size());
    return spans.finish();
  };
}

Pattern regex(const std::string& expression) {
  return [regex = Regex(expression)](std::string_view text) {
    Spans spans(text);
    std::optional<size_t> last;  // the end of the last match
    for (size_t from = 0; from <= text.size();) {
      const auto match = regex.search(text, from);
      if (!match) break;
      const auto [begin, end] = match->front();
      if (begin == end && end == last) {  // an empty match where the last one ended: go on behind it
        from += from < text.size() ? code_point_length(text, from) : 1;
        continue;
      }
      spans.match(begin, end);
      last = from = end;
    }
    return spans.finish();
  };
}

Pattern inverse(Pattern pattern) {
  return [pattern = std::move(pattern)](std::string_view text) {
    auto spans = pattern(text);
    for (auto& span : spans) span.match = !span.match;
    return spans;
  };
}

std::vector<Span> split(const std::vector<Span>& spans, Delimiter delimiter) {
  std::vector<Span> parts;
  // Whether a span belongs to the part of the span before it.
  const auto joins = [&](const Span& before, const Span& span) {
    switch (delimiter) {
      case Delimiter::merged_with_previous:
        return span.match && !before.match;
      case Delimiter::merged_with_next:
        return before.match && !span.match;
      case Delimiter::contiguous:
        return before.match == span.match;
      default:
        return false;
    }
  };
  for (size_t i = 0; i < spans.size(); ++i) {
    if (delimiter == Delimiter::removed && spans[i].match) continue;
    if (i > 0 && joins(spans[i - 1], spans[i]))
      parts.back().end = spans[i].end;
    else
      parts.push_back(spans[i]);
  }
  return parts;
}

std::string replace(std::string_view text, const Pattern& pattern, std::string_view replacement) {
  std::string result;
  for (const auto& span : pattern(text)) {
    result += span.match ? replacement : text.substr(span.begin, span.end - span.begin);
    check_length(result.size());
  }
  return result;
}

}  // namespace eav::text
