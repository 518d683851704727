// Regular expressions over UTF-8 text, by Oniguruma.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace eav::text {

class Regex {
 public:
  struct Group {
    size_t begin = std::string_view::npos, end = std::string_view::npos;  // in bytes; npos: it took no part
    // Its part of the text that was matched.
    std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
  };
  using Match = std::vector<Group>;  // the first is the whole match

  // In Oniguruma's own dialect, Ruby's. Throws eav::Error when Oniguruma refuses the expression.
  explicit Regex(const std::string& expression);
  // In the dialect of Python's `re`: what \w, \s and \b take for a letter or white space, and ^ and $ for the whole
  // text.
  static Regex python(std::string_view expression);

  // The first match that starts at `from` or behind it.
  std::optional<Match> search(std::string_view text, size_t from = 0) const;
  // The match that starts at `at`.
  std::optional<Match> match(std::string_view text, size_t at) const;
  // `text` with every match replaced by what `replacement` makes of it.
  std::string replace(std::string_view text, const std::function<std::string(const Match& match)>& replacement) const;

 private:
  std::shared_ptr<void> compiled_;  // Oniguruma's regex_t; shared, since a Regex is copied
};

}  // namespace eav::text
