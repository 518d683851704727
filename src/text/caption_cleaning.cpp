#include "text/caption_cleaning.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "eav/error.h"
#include "text/ftfy.h"
#include "text/html.h"
#include "text/regex.h"
#include "text/rules.h"
#include "text/tokenizer/unicode.h"

namespace eav {
namespace {

using text::Regex;

// urllib.parse.unquote_plus: "+" and "%20" are spaces. Each run of ASCII characters is decoded by itself.
std::string unquoted(std::string caption) {
  static const auto run = Regex(R"([\x00-\x7f]+)"), escape = Regex("%([0-9a-fA-F]{2})");
  std::ranges::replace(caption, '+', ' ');
  return run.replace(caption, [&](const Regex::Match& match) {
    const auto part = match[0].of(caption);
    return text::repaired_utf8(escape.replace(part, [&](const Regex::Match& byte) {
      return std::string(1, static_cast<char>(std::stoi(std::string(byte[1].of(part)), nullptr, 16)));
    }));
  });
}

std::string without_urls(const std::string& caption) {
  constexpr std::string_view domains = R"([a-zA-Z0-9.\-]+[.](?:com|co|ru|net|org|edu|gov|it)[\w/-]*\b\/?(?!@))))";
  static const text::Rules rules{{"<person>", "person"},
                                 {R"(\b((?:https?:(?:\/{1,3}|[a-zA-Z0-9%])|)" + std::string(domains), ""},
                                 {R"(\b((?:www:(?:\/{1,3}|[a-zA-Z0-9%])|)" + std::string(domains), ""}};
  return text::apply(rules, caption);
}

// Without what looks like a tag, a comment or a declaration; what stands between two tags stays.
std::string without_tags(const std::string& caption) {
  static const text::Rules rules{{"<[a-z/!?][^<>]*>", ""}};
  return text::apply(rules, caption);
}

// Character references become what they stand for, as Beautiful Soup reads them on Python's html.parser: none at the
// very end, names only as a whole, and the "&" before a last letter is lost.
std::string with_references_parsed(const std::string& caption) {
  static const text::Rules lost{{R"(&(?=[a-z#]$))", ""}};
  static const auto reference =
      Regex::python("&(#[0-9]+(?=[^0-9a-f])|#x[0-9a-f]+(?=[^0-9a-f])|[a-z][-.a-z0-9]*(?=[^a-z0-9]));?");
  const auto text = text::apply(lost, caption);
  return reference.replace(text, [&](const Regex::Match& match) {
    const auto name = "&" + std::string(match[1].of(text));
    if (name[1] == '#') return text::html_unescape(name + ";");
    return text::html_entity(name.substr(1) + ";").value_or(name);
  });
}

// Strokes, phonetic extensions, enclosed letters, compatibility characters, ideographs and hexagrams.
std::string without_cjk(const std::string& caption) {
  static const text::Rules rules{{R"([\u31c0-\u9fff]+)", ""}};
  return text::apply(rules, caption);
}

std::string with_plain_punctuation(const std::string& caption) {
  static const text::Rules rules{
      {R"([\u002D\u058A\u05BE\u1400\u1806\u2010-\u2015\u2E17\u2E1A\u2E3A\u2E3B\u2E40\u301C\u3030\u30A0)"
       R"(\uFE31\uFE32\uFE58\uFE63\uFF0D]+)",
       "-"},                // dashes
      {"[`´«»“”¨]", "\""},  // quotes
      {"[‘’]", "'"},
      {"&quot;?", ""},
      {"&amp", ""},
      {R"(\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3})", " "},  // IP addresses
      {R"(\d:\d\d\s+$)", ""},                          // ids of articles
      {R"(\\n)", " "},
      {R"(#\d{1,3}\b)", ""},  // "#123"
      {R"(#\d{5,}\b)", ""},   // "#12345.."
      {R"(\b\d{6,}\b)", ""},  // "123456.."
      {R"([\S]+\.(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4))", ""},
      {R"(["']{2,})", "\""},
      {R"([\.]{2,})", " "},
      {R"([#®•©™&@·º½¾¿¡§~\)\(\]\[\}\{\|\\\/\*]{1,})", " "},
      {R"((?<!\s)\s+\.\s+)", " "},
  };
  return text::apply(rules, caption);
}

// "this-is-my-cute-cat": more than three hyphens or underscores stand for spaces.
std::string with_words_apart(std::string caption) {
  const auto joins = [](char c) { return c == '-' || c == '_'; };
  if (std::ranges::count_if(caption, joins) > 3) std::ranges::replace_if(caption, joins, ' ');
  return caption;
}

// Article numbers, offers, sizes of pictures.
std::string without_catalogue_talk(const std::string& caption) {
  static const text::Rules rules{
      {R"(\b[a-zA-Z]{1,3}\d{3,15}\b)", ""},  // jc6640
      {R"(\b[a-zA-Z]+\d+[a-zA-Z]+\b)", ""},  // jc6640vc
      {R"(\b\d+[a-zA-Z]+\d+\b)", ""},        // 6640vc231
      {R"((worldwide\s+)?(free\s+)?shipping)", ""},
      {R"((free\s)?download(\sfree)?)", ""},
      {R"(\bclick\b\s(?:for|on)\s\w+)", ""},
      {R"(\b(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)(\simage[s]?)?)", ""},
      {R"(\bpage\s+\d+\b)", ""},
      {R"(\b\d*[a-zA-Z]+\d+[a-zA-Z]+\d+[a-zA-Z\d]*\b)", " "},  // j2d1a2a...
      {R"(\b\d+\.?\d*[xх×]\d+\.?\d*\b)", ""},                  // 1080x1920
  };
  return text::apply(rules, caption);
}

// Spaces where they belong, and neither quotes around the whole nor a lone mark at its ends.
std::string tidied(const std::string& caption) {
  static const text::Rules rules{
      {R"(\b\s+\:\s+)", ": "}, {R"((\D[,\./])\b)", "\\1 "}, {R"(\s+)", " "},    {R"(^["']([\w\W]+)["']$)", "\\1"},
      {R"(^['\_,\-\:;])", ""}, {R"(['\_,\-\:\-\+]$)", ""},  {R"(^\.\S+$)", ""},
  };
  return text::apply(rules, caption);
}

// One run of _clean_caption.
CleanCaption cleaned(const CleanCaption& before) {
  static const text::Rules nicknames{{R"(@[\w\d]+\b)", ""}};
  const auto marked = without_urls(text::full_lowercase(text::python_stripped(unquoted(before.text))));
  const auto unmarked = without_tags(marked);
  const auto caption = text::apply(nicknames, with_references_parsed(unmarked));
  const auto kept = without_cjk(caption);
  const auto plain = text::fix_text(with_words_apart(with_plain_punctuation(kept)));
  const auto unescaped = text::html_unescape(text::html_unescape(plain));
  return {.text = text::python_stripped(tidied(without_catalogue_talk(unescaped))),
          .removed_tags = before.removed_tags || unmarked != marked,
          .removed_cjk = before.removed_cjk || kept != caption};
}

}  // namespace

CleanCaption clean_caption(const std::string& utf8) {
  text::check_utf8(utf8);
  constexpr size_t kMost = 10'000;  // cleaning takes time with the square of it
  if (utf8.size() > kMost)
    throw Error(
        fmt::format("the prompt has {} bytes, and at most {} can be cleaned: shorten it, or turn `clean_prompt` off",
                    utf8.size(), kMost));
  return cleaned(cleaned({.text = utf8, .removed_tags = false, .removed_cjk = false}));
}

std::string plain_caption(const std::string& utf8) {
  text::check_utf8(utf8);
  return text::python_stripped(text::full_lowercase(utf8));
}

}  // namespace eav
