#include "text/caption_cleaning.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string_view>
#include <utility>
#include <vector>

#include "eav/error.h"
#include "text/html.h"
#include "text/regex.h"
#include "text/tokenizer/unicode.h"

namespace eav {
namespace {

using text::Regex;

// A regular expression of Python's `re`, and what its matches become, where \1 is the first group.
struct Rule {
  Rule(std::string_view expression, std::string_view by) : pattern(Regex::python(expression)), replacement(by) {}

  std::string operator()(const std::string& caption) const {
    return pattern.replace(caption, [&](const Regex::Match& match) {
      const auto group = replacement.find("\\1");
      if (group == replacement.npos) return replacement;
      return std::string(replacement).replace(group, 2, match[1].of(caption));
    });
  }

  Regex pattern;
  std::string replacement;
};
using Rules = std::vector<Rule>;

std::string apply(const Rules& rules, std::string caption) {
  for (const auto& rule : rules) caption = rule(caption);
  return caption;
}

// str.strip()
std::string stripped(const std::string& caption) {
  const auto is_space = [](char32_t c) { return text::is_whitespace(c) || (c >= 0x1C && c <= 0x1F); };
  size_t begin = 0, end = caption.size();
  while (begin < end && is_space(text::code_point(caption, begin))) begin += text::code_point_length(caption, begin);
  for (size_t start; end > begin; end = start) {
    start = text::code_point_start(caption, end);
    if (!is_space(text::code_point(caption, start))) break;
  }
  return caption.substr(begin, end - begin);
}

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
  static const Rules rules{{"<person>", "person"},
                           {R"(\b((?:https?:(?:\/{1,3}|[a-zA-Z0-9%])|)" + std::string(domains), ""},
                           {R"(\b((?:www:(?:\/{1,3}|[a-zA-Z0-9%])|)" + std::string(domains), ""}};
  return apply(rules, caption);
}

// Without what looks like a tag, a comment or a declaration; what stands between two tags stays.
std::string without_tags(const std::string& caption) {
  static const Rules rules{{"<[a-z/!?][^<>]*>", ""}};
  return apply(rules, caption);
}

// Character references become what they stand for, as Beautiful Soup reads them on Python's html.parser: none at the
// very end, names only as a whole, and the "&" before a last letter is lost.
std::string with_references_parsed(const std::string& caption) {
  static const Rules lost{{R"(&(?=[a-z#]$))", ""}};
  static const auto reference =
      Regex::python("&(#[0-9]+(?=[^0-9a-f])|#x[0-9a-f]+(?=[^0-9a-f])|[a-z][-.a-z0-9]*(?=[^a-z0-9]));?");
  const auto text = apply(lost, caption);
  return reference.replace(text, [&](const Regex::Match& match) {
    const auto name = "&" + std::string(match[1].of(text));
    if (name[1] == '#') return text::html_unescape(name + ";");
    return text::html_entity(name.substr(1) + ";").value_or(name);
  });
}

// Strokes, phonetic extensions, enclosed letters, compatibility characters, ideographs and hexagrams.
std::string without_cjk(const std::string& caption) {
  static const Rules rules{{R"([\u31c0-\u9fff]+)", ""}};
  return apply(rules, caption);
}

std::string with_plain_punctuation(const std::string& caption) {
  static const Rules rules{
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
  return apply(rules, caption);
}

// "this-is-my-cute-cat": more than three hyphens or underscores stand for spaces.
std::string with_words_apart(std::string caption) {
  const auto joins = [](char c) { return c == '-' || c == '_'; };
  if (std::ranges::count_if(caption, joins) > 3) std::ranges::replace_if(caption, joins, ' ');
  return caption;
}

// ftfy.fixes.unescape_html: only references that end with ";"; names may also be in upper case altogether.
std::string with_references_unescaped(const std::string& caption) {
  static const auto reference = Regex::python("&#?[0-9A-Za-z]{1,24};");
  return reference.replace(caption, [&](const Regex::Match& match) {
    const std::string whole(match[0].of(caption));
    const auto name = whole.substr(1);
    if (const auto known = text::html_entity(name)) return *known;
    const auto unescaped = text::html_unescape(whole);
    if (name.starts_with('#')) return unescaped.find(';') == unescaped.npos ? unescaped : whole;
    const bool upper = std::ranges::none_of(name, [](char c) { return c >= 'a' && c <= 'z'; });
    const auto lower = upper && unescaped == whole ? text::html_entity(text::lowercase(name)) : std::nullopt;
    return lower ? text::uppercase(*lower) : whole;
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
  text::append_code_point(character, text::c1_as_windows_1252(c));
  if (c == 0x3000) return " ";
  return c > 0xFF00 && c < 0xFFF0 ? text::normalize(character, text::NormalForm::KC) : character;
}

std::string with_plain_characters(const std::string& caption) {
  std::string result;
  for (size_t i = 0; i < caption.size(); i += text::code_point_length(caption, i))
    result += plain(text::code_point(caption, i));
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
    fixed = text::nfc(apply(rules, with_plain_characters(fixed)));
    if (fixed == line) return line;
    line = std::move(fixed);
  }
}

// ftfy.fix_text: line by line; from the first "<" on, character references are left alone.
std::string fixed(const std::string& caption) {
  std::string result;
  bool unescapes = true;
  for (size_t begin = 0; begin < caption.size();) {
    const auto line_end = caption.find('\n', begin);
    const auto end = line_end == caption.npos ? caption.size() : line_end + 1;
    const auto line = caption.substr(begin, end - begin);
    unescapes = unescapes && line.find('<') == line.npos;
    result += fixed_line(line, unescapes);
    begin = end;
  }
  return result;
}

// Article numbers, offers, sizes of pictures.
std::string without_catalogue_talk(const std::string& caption) {
  static const Rules rules{
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
  return apply(rules, caption);
}

// Spaces where they belong, and neither quotes around the whole nor a lone mark at its ends.
std::string tidied(const std::string& caption) {
  static const Rules rules{
      {R"(\b\s+\:\s+)", ": "}, {R"((\D[,\./])\b)", "\\1 "}, {R"(\s+)", " "},    {R"(^["']([\w\W]+)["']$)", "\\1"},
      {R"(^['\_,\-\:;])", ""}, {R"(['\_,\-\:\-\+]$)", ""},  {R"(^\.\S+$)", ""},
  };
  return apply(rules, caption);
}

// One run of _clean_caption.
CleanCaption cleaned(const CleanCaption& before) {
  static const Rules nicknames{{R"(@[\w\d]+\b)", ""}};
  const auto marked = without_urls(text::full_lowercase(stripped(unquoted(before.text))));
  const auto unmarked = without_tags(marked);
  const auto caption = apply(nicknames, with_references_parsed(unmarked));
  const auto kept = without_cjk(caption);
  const auto plain = fixed(with_words_apart(with_plain_punctuation(kept)));
  const auto unescaped = text::html_unescape(text::html_unescape(plain));
  return {.text = stripped(tidied(without_catalogue_talk(unescaped))),
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
  return stripped(text::full_lowercase(utf8));
}

}  // namespace eav
