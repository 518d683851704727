#include "text/regex.h"

#include <fmt/format.h>
#include <oniguruma.h>

#include <map>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

const OnigUChar* bytes(std::string_view text) { return reinterpret_cast<const OnigUChar*>(text.data()); }

// How much a search may try before it fails. Expressions come from files, and texts from anywhere: some pairs of them
// would take longer than anybody waits.
OnigMatchParam* limits() {
  static const auto limits = [] {
    std::unique_ptr<OnigMatchParam, void (*)(OnigMatchParam*)> made(onig_new_match_param(), onig_free_match_param);
    onig_initialize_match_param(made.get());
    onig_set_retry_limit_in_search_of_match_param(made.get(), 1'000'000);
    return made;
  }();
  return limits.get();
}

// The text of Oniguruma's error `code`.
std::string onig_message(int code, OnigErrorInfo* info = nullptr) {
  OnigUChar message[ONIG_MAX_ERROR_MESSAGE_LEN];
  const int length = onig_error_code_to_str(message, code, info);
  return {reinterpret_cast<char*>(message), static_cast<size_t>(length)};
}

// What `run`, one of Oniguruma's functions that fill a region, finds.
template <typename Run>
std::optional<Regex::Match> found(const Run& run) {
  const std::unique_ptr<OnigRegion, void (*)(OnigRegion*)> region(onig_region_new(),
                                                                  [](OnigRegion* r) { onig_region_free(r, 1); });
  const auto code = run(region.get());
  if (code == ONIG_MISMATCH) return std::nullopt;
  if (code < 0) throw Error(fmt::format("a regular expression failed: {}", onig_message(code)));
  Regex::Match match(static_cast<size_t>(region->num_regs));
  for (size_t i = 0; i < match.size(); ++i)
    if (region->beg[i] != ONIG_REGION_NOTPOS)
      match[i] = {static_cast<size_t>(region->beg[i]), static_cast<size_t>(region->end[i])};
  return match;
}

}  // namespace

Regex::Regex(const std::string& expression) {
  OnigEncoding encodings[] = {ONIG_ENCODING_UTF8};
  onig_initialize(encodings, 1);
  OnigErrorInfo info;
  const auto* begin = bytes(expression);
  regex_t* compiled = nullptr;
  const int code = onig_new(&compiled, begin, begin + expression.size(), ONIG_OPTION_NONE, ONIG_ENCODING_UTF8,
                            ONIG_SYNTAX_RUBY, &info);
  if (code != ONIG_NORMAL)
    throw Error(
        fmt::format("the regular expression \"{}\" is not understood: {}", expression, onig_message(code, &info)));
  compiled_ = {compiled, [](void* regex) { onig_free(static_cast<regex_t*>(regex)); }};
}

Regex Regex::python(std::string_view expression) {
  // \w lacks the marks and connectors that Ruby's has; \s has the information separators, U+001C to U+001F, that Ruby's
  // lacks.
  static const std::map<std::string_view, std::string_view> classes{
      {"\\w", R"([\p{L}\p{N}_])"},
      {"\\W", R"([^\p{L}\p{N}_])"},
      {"\\s", R"([\t-\r\x1c-\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])"},
      {"\\S", R"([^\t-\r\x1c-\x20\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])"},
      {"\\b", R"((?:(?<=[\p{L}\p{N}_])(?![\p{L}\p{N}_])|(?<![\p{L}\p{N}_])(?=[\p{L}\p{N}_])))"}};
  std::string ours;
  bool in_class = false;
  for (size_t i = 0; i < expression.size(); ++i) {
    auto part = expression.substr(i, expression[i] == '\\' ? 2 : 1);
    i += part.size() - 1;
    if (const auto found = classes.find(part); found != classes.end())
      part = found->second;
    else if (part == "[" || part == "]")
      in_class = part == "[";
    else if (!in_class && part == "^")
      part = "\\A";
    else if (!in_class && part == "$")
      part = "\\Z";
    ours += part;
  }
  return Regex(ours);
}

std::optional<Regex::Match> Regex::search(std::string_view text, size_t from) const {
  return found([&](OnigRegion* region) {
    const auto *begin = bytes(text), *end = begin + text.size();
    return onig_search_with_param(static_cast<regex_t*>(compiled_.get()), begin, end, begin + from, end, region,
                                  ONIG_OPTION_NONE, limits());
  });
}

std::optional<Regex::Match> Regex::match(std::string_view text, size_t at) const {
  return found([&](OnigRegion* region) {
    const auto* begin = bytes(text);
    return onig_match_with_param(static_cast<regex_t*>(compiled_.get()), begin, begin + text.size(), begin + at, region,
                                 ONIG_OPTION_NONE, limits());
  });
}

std::string Regex::replace(std::string_view text,
                           const std::function<std::string(const Match& match)>& replacement) const {
  std::string result;
  size_t copied = 0;  // up to here `text` is in `result`
  for (size_t from = 0; from <= text.size();) {
    const auto match = search(text, from);
    if (!match) break;
    const auto [begin, end] = match->front();
    result += text.substr(copied, begin - copied);
    result += replacement(*match);
    copied = end;
    from = end > begin ? end : end + (end < text.size() ? code_point_length(text, end) : 1);
  }
  return result += text.substr(copied);
}

}  // namespace eav::text
