#include "text/html.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>
#include <vector>

#include "text/regex.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

using Entity = std::pair<std::string_view, std::string_view>;
constexpr auto kEntities = std::to_array<Entity>({
#include "text/html_entities.inc"
});

constexpr char32_t kReplacement = 0xFFFD;

bool is_surrogate(char32_t c) { return c >= 0xD800 && c <= 0xDFFF; }

std::string utf8(char32_t c) {
  std::string text;
  append_code_point(text, c);
  return text;
}

// The number of a reference such as "#65" or "#x41"; beyond Unicode all numbers are the same.
char32_t reference_number(std::string_view reference) {
  const bool hexadecimal = reference[1] == 'x' || reference[1] == 'X';
  char32_t number = 0;
  for (const char c : reference.substr(hexadecimal ? 2 : 1)) {
    if (c == ';') break;
    const auto digit = static_cast<char32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    number = std::min<char32_t>(number * (hexadecimal ? 16 : 10) + digit, 0x110000);
  }
  return number;
}

// How html.unescape resolves a number.
std::string unescaped(char32_t number) {
  if (number == 0 || is_surrogate(number) || number > 0x10FFFF) return utf8(kReplacement);
  if (number == '\r') return "\r";
  if (const auto c = c1_as_windows_1252(number); c != number || (number >= 0x80 && number < 0xA0)) return utf8(c);
  const bool control = number < 0x20 && number != '\t' && number != '\n' && number != '\f';
  const bool noncharacter = (number >= 0xFDD0 && number <= 0xFDEF) || (number & 0xFFFE) == 0xFFFE;
  return control || number == 0x7F || noncharacter ? "" : utf8(number);
}

// How Beautiful Soup does.
std::string parsed(char32_t number) {
  if (number == 0 || is_surrogate(number) || number > 0x10FFFF) return utf8(kReplacement);
  return utf8(c1_as_windows_1252(number));
}

// How html.unescape resolves a name: the longest beginning that is known; with less than two letters none is.
std::string unescaped(std::string_view name) {
  for (auto end = name.size(); end > 0; end = code_point_start(name, end)) {
    const auto known = html_entity(name.substr(0, end));
    if (known && (end == name.size() || end > 1)) return std::string(*known) += name.substr(end);
  }
  return "&" + std::string(name);
}

// Beautiful Soup's tree, of which only the open tags and the text outside of hidden ones are kept.
class Soup {
 public:
  void start(const std::string& tag) {
    end_text();
    open_.push_back(tag);
  }
  void end(const std::string& tag) {
    end_text();
    const auto last = std::find(open_.rbegin(), open_.rend(), tag);
    if (last != open_.rend()) open_.erase(last.base() - 1, open_.end());
  }
  void add(std::string_view data) {
    pending_ += data;
    has_pending_ = true;
  }
  void end_text() { finish(!inside({"rp", "rt", "script", "style", "template"})); }
  // Comments and declarations are no text, CDATA always is.
  void add_markup(std::string_view data, bool is_text) {
    end_text();
    add(data);
    finish(is_text);
  }
  std::string text() && {
    end_text();
    return std::move(text_);
  }

 private:
  bool inside(const std::set<std::string_view>& tags) const {
    return std::ranges::any_of(open_, [&](const std::string& tag) { return tags.contains(tag); });
  }
  // White space by itself becomes one character.
  void finish(bool is_text) {
    if (!std::exchange(has_pending_, false)) return;
    auto data = std::exchange(pending_, {});
    if (data.find_first_not_of(" \n\t\f\r") == data.npos && !inside({"pre", "textarea"}))
      data = data.find('\n') != data.npos ? "\n" : " ";
    if (is_text) text_ += data;
  }

  std::vector<std::string> open_;
  std::string pending_, text_;
  bool has_pending_ = false;
};

// html.parser refuses the text.
struct Refused {};

// html.parser's HTMLParser, with character references left to Beautiful Soup.
class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  std::string parse() && {
    advance(false);
    advance(true);
    return std::move(soup_).text();
  }

 private:
  static constexpr auto kUnfinished = std::string_view::npos;

  bool starts(std::string_view part) const { return text_.substr(at_).starts_with(part); }
  std::string_view between(size_t begin, size_t end) const { return text_.substr(begin, end - begin); }

  // Goes on as far as it can. Without `end`, more text might come; with it, the rest is text.
  void advance(bool end) {
    while (at_ < text_.size()) {
      const auto next = next_markup();
      if (next == kUnfinished && !raw_.empty()) break;
      const auto until = std::min(next, text_.size());
      if (at_ < until) soup_.add(between(at_, until));
      at_ = until;
      if (at_ == text_.size()) break;
      if (!(text_[at_] == '<' ? markup(end) : reference(end))) break;
    }
    if (end && at_ < text_.size() && raw_.empty()) {
      soup_.add(text_.substr(at_));
      at_ = text_.size();
    }
  }

  // Where the next "<" or "&" is; in <script> and <style>, the tag that ends it.
  size_t next_markup() const {
    if (raw_.empty()) return text_.find_first_of("&<", at_);
    const auto closing = Regex::python(R"(</\s*)" + raw_ + R"(\s*>)").search(text_, at_);
    return closing ? closing->front().begin : kUnfinished;
  }

  // Reads what starts with "<"; false where it is the beginning of something whose end is missing.
  bool markup(bool end) {
    auto next = markup_end();
    if (next == kUnfinished) {
      if (!end || (at_ + 1 == text_.size())) return false;
      next = text_.find('>', at_ + 1);
      if (next != text_.npos)
        ++next;
      else if (next = text_.find('<', at_ + 1); next == text_.npos)
        next = at_ + 1;
      soup_.add(between(at_, next));
    }
    at_ = next;
    return true;
  }

  size_t markup_end() {
    static const auto opening = Regex::python("<[a-zA-Z]");
    if (opening.match(text_, at_)) return start_tag();
    if (starts("</")) return end_tag();
    if (starts("<!--")) return comment();
    if (starts("<?")) return up_to(">", 2);
    if (starts("<![")) return marked_section();
    if (starts("<!doctype")) return up_to(">", 9);
    if (starts("<!")) return up_to(">", 2);
    if (at_ + 1 == text_.size()) return kUnfinished;
    soup_.add("<");
    return at_ + 1;
  }

  // A comment, an instruction or a declaration, until `closing` behind the `skipped` first characters.
  size_t up_to(std::string_view closing, size_t skipped) {
    const auto found = text_.find(closing, at_ + skipped);
    if (found == text_.npos) return kUnfinished;
    soup_.add_markup("", false);
    return found + closing.size();
  }

  size_t comment() {
    static const auto closing = Regex::python(R"(--\s*>)");
    const auto found = closing.search(text_, at_ + 4);
    if (!found) return kUnfinished;
    soup_.add_markup("", false);
    return found->front().end;
  }

  // <![CDATA[...]]> and Microsoft's <![if ...]>
  size_t marked_section() {
    static const auto name = Regex::python(R"(([a-zA-Z][-_.a-zA-Z0-9]*)\s*)");
    static const auto standard = Regex::python(R"(\]\s*\]\s*>)"), microsoft = Regex::python(R"(\]\s*>)");
    static const std::set<std::string_view> standards{"temp", "cdata", "ignore", "include", "rcdata"},
        microsofts{"if", "else", "endif"};
    const auto begin = at_ + 3;
    if (begin == text_.size()) return kUnfinished;
    const auto named = name.match(text_, begin);
    if (!named) throw Refused();
    if (named->front().end == text_.size()) return kUnfinished;
    const auto kind = named->at(1).of(text_);
    if (!standards.contains(kind) && !microsofts.contains(kind)) throw Refused();
    const auto found = (standards.contains(kind) ? standard : microsoft).search(text_, begin);
    if (!found) return kUnfinished;
    const auto data = between(begin, found->front().begin);
    constexpr std::string_view cdata = "cdata[";
    const bool is_text = data.starts_with(cdata);
    soup_.add_markup(is_text ? data.substr(cdata.size()) : data, is_text);
    return found->front().end;
  }

  // The end of the start tag here, with its ">" where it has one.
  size_t start_tag_end() const {
    static const auto tag = Regex::python(R"(<[a-zA-Z][^\t\n\r\f />\x00]*)"              // name
                                          R"((?:[\s/]*(?:(?<=['"\s/])[^\s/>][^\s/=>]*)"  // name of an attribute
                                          R"((?:\s*=+\s*(?:'[^']*'|"[^"]*"|(?!['"])[^>\s]*)\s*)?)"  // its value
                                          R"((?:\s|/(?!>))*)*)?\s*)");
    const auto end = tag.match(text_, at_).value().front().end;
    const auto rest = text_.substr(end);
    if (rest.starts_with(">")) return end + 1;
    if (rest.starts_with("/>")) return end + 2;
    const auto unfinished = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '=' || c == '/';
    };
    return rest.empty() || unfinished(rest.front()) ? kUnfinished : end;
  }

  size_t start_tag() {
    static const auto attribute =
        Regex::python(R"(((?<=['"\s/])[^\s/>][^\s/=>]*)(\s*=+\s*('[^']*'|"[^"]*"|(?!['"])[^>\s]*))?(?:\s|/(?!>))*)");
    static const auto closing = Regex::python(R"(\s*(/?>)\s*)");
    const auto end = start_tag_end();
    if (end == kUnfinished) return end;
    const auto name = tag_name(at_ + 1).value();
    const std::string tag(name[1].of(text_));
    auto last = name[0].end;  // of what is understood
    while (last < end) {
      const auto found = attribute.match(text_, last);
      if (!found) break;
      last = found->front().end;
    }
    const auto closed = last < end ? closing.match(text_.substr(0, end), last) : std::nullopt;
    if (!closed || closed->front().end != end) {
      soup_.add(between(at_, end));
      return end;
    }
    open(tag, closed->at(1).of(text_) == "/>");
    return end;
  }

  void open(const std::string& tag, bool closed) {
    // Beautiful Soup's list of tags that hold nothing
    static const std::set<std::string_view> empty{"area",    "base",    "basefont", "bgsound", "br",       "col",
                                                  "command", "embed",   "frame",    "hr",      "image",    "img",
                                                  "input",   "isindex", "keygen",   "link",    "menuitem", "meta",
                                                  "nextid",  "param",   "source",   "spacer",  "track",    "wbr"};
    soup_.start(tag);
    if (closed || empty.contains(tag)) {
      soup_.end(tag);
      if (!closed) closed_.insert(tag);
    } else if (tag == "script" || tag == "style") {
      raw_ = tag;
    }
  }

  std::optional<Regex::Match> tag_name(size_t at) const {
    static const auto name = Regex::python(R"(([a-zA-Z][^\t\n\r\f />\x00]*)(?:\s|/(?!>))*)");
    return name.match(text_, at);
  }

  size_t end_tag() {
    static const auto plain = Regex::python(R"(</\s*([a-zA-Z][-.a-zA-Z0-9:_]*)\s*>)");
    const auto bracket = text_.find('>', at_ + 1);
    if (bracket == text_.npos) return kUnfinished;
    if (const auto found = plain.match(text_, at_)) {
      const std::string tag(found->at(1).of(text_));
      if (!raw_.empty() && tag != raw_) {
        soup_.add(between(at_, bracket + 1));
        return bracket + 1;
      }
      close(tag);
      raw_.clear();
      return bracket + 1;
    }
    if (!raw_.empty()) {
      soup_.add(between(at_, bracket + 1));
      return bracket + 1;
    }
    const auto name = tag_name(at_ + 2);
    if (!name) return starts("</>") ? at_ + 3 : up_to(">", 2);
    close(std::string(name->at(1).of(text_)));
    return text_.find('>', name->front().end) + 1;
  }

  // The end of a tag that holds nothing was dealt with where it began.
  void close(const std::string& tag) {
    if (const auto found = closed_.find(tag); found != closed_.end())
      closed_.erase(found);
    else
      soup_.end(tag);
  }

  // Reads what starts with "&"; false where reading stops there.
  bool reference(bool end) {
    static const auto numbered = Regex::python("&(#(?:[0-9]+|[xX][0-9a-fA-F]+))[^0-9a-fA-F]");
    static const auto named = Regex::python("&([a-zA-Z][-.a-zA-Z0-9]*)[^a-zA-Z0-9]");
    static const auto incomplete = Regex::python("&[a-zA-Z#]");
    const bool is_number = starts("&#");
    if (const auto found = (is_number ? numbered : named).match(text_, at_)) {
      const auto name = found->at(1).of(text_);
      if (is_number) {
        soup_.add(parsed(reference_number(name)));
      } else {
        const auto known = html_entity(std::string(name) + ";");
        soup_.add(known ? std::string(*known) : "&" + std::string(name));
      }
      at_ = found->at(1).end;
      if (text_[at_] == ';') ++at_;
      return true;
    }
    if (is_number) {
      if (text_.find(';', at_) != text_.npos) {
        soup_.add("&#");
        at_ += 2;
      }
      return false;
    }
    if (incomplete.match(text_, at_)) {
      if (end && text_.size() - at_ == 2) ++at_;  // html.parser loses this "&"
      return false;
    }
    if (at_ + 1 == text_.size()) return false;
    soup_.add("&");
    ++at_;
    return true;
  }

  std::string_view text_;
  size_t at_ = 0;
  std::string raw_;                    // "script" or "style" while inside of it
  std::multiset<std::string> closed_;  // tags that hold nothing and were closed where they began
  Soup soup_;
};

}  // namespace

std::optional<std::string_view> html_entity(std::string_view name) {
  const auto found = std::ranges::lower_bound(kEntities, name, {}, &Entity::first);
  if (found == kEntities.end() || found->first != name) return std::nullopt;
  return found->second;
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
    const auto name = match[1].of(text);
    return name.starts_with('#') ? unescaped(reference_number(name)) : unescaped(name);
  });
}

std::string html_text(std::string_view text) try { return Parser(text).parse(); } catch (const Refused&) {
  return std::string(text);
}

}  // namespace eav::text
