#include "text/tokenizer/unicode.h"

#include <fmt/format.h>
#include <unicode/bytestream.h>
#include <unicode/casemap.h>
#include <unicode/normalizer2.h>
#include <unicode/ubrk.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>
#include <unicode/utext.h>
#include <unicode/utf8.h>

#include <memory>

#include "eav/error.h"

namespace eav::text {
namespace {

void check(UErrorCode status) {
  if (U_FAILURE(status)) throw Error(fmt::format("Unicode text could not be processed: {}", u_errorName(status)));
}

// What `convert`, one of ICU's functions that write UTF-8, makes of `text`.
template <typename Convert>
std::string converted(std::string_view text, const Convert& convert) {
  std::string result;
  icu::StringByteSink<std::string> sink(&result, static_cast<int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  convert(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, status);
  check(status);
  return result;
}

}  // namespace

void check_length(size_t bytes) {
  constexpr size_t kMost = 1 << 18;
  if (bytes > kMost) throw Error(fmt::format("the tokenizer makes more than {} bytes of a text", kMost));
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    UChar32 c;
    U8_NEXT(text.data(), i, text.size(), c);  // NOLINT(bugprone-inc-dec-in-conditions): a macro of ICU
    if (c < 0) return false;
  }
  return true;
}

void check_utf8(std::string_view prompt) {
  if (!is_utf8(prompt)) throw Error("the prompt is not UTF-8 text");
}

char32_t code_point(std::string_view text, size_t at) {
  UChar32 c;
  U8_NEXT_UNSAFE(text.data(), at, c);
  return static_cast<char32_t>(c);
}

std::string repaired_utf8(std::string_view bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size();) {
    UChar32 c;
    U8_NEXT_OR_FFFD(bytes.data(), i, bytes.size(), c);  // NOLINT(bugprone-inc-dec-in-conditions)
    append_code_point(text, static_cast<char32_t>(c));
  }
  return text;
}

size_t code_point_start(std::string_view text, size_t end) {
  U8_BACK_1_UNSAFE(text.data(), end);
  return end;
}

void append_code_point(std::string& text, char32_t c) {
  char bytes[U8_MAX_LENGTH];
  size_t length = 0;
  U8_APPEND_UNSAFE(bytes, length, static_cast<uint32_t>(c));
  text.append(bytes, length);
}

bool is_whitespace(char32_t c) { return u_isUWhiteSpace(static_cast<UChar32>(c)); }

bool is_word(char32_t c) {
  const auto category = U_MASK(u_charType(static_cast<UChar32>(c)));
  return (category & (U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK)) != 0 ||
         u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_ALPHABETIC) ||
         u_hasBinaryProperty(static_cast<UChar32>(c), UCHAR_JOIN_CONTROL);
}

std::string lowercase(std::string_view text) {
  constexpr char32_t kCapitalIWithDot = 0x130;  // the one letter whose lower case is two code points
  std::string result;
  result.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += code_point_length(text, i)) {
    const auto c = code_point(text, i);
    if (c == kCapitalIWithDot)
      result += "i\u0307";
    else
      append_code_point(result, static_cast<char32_t>(u_tolower(static_cast<UChar32>(c))));
  }
  return result;
}

std::string full_lowercase(std::string_view text) {
  return converted(text, [](icu::StringPiece from, icu::ByteSink& to, UErrorCode& status) {
    icu::CaseMap::utf8ToLower("", 0, from, to, nullptr, status);
  });
}

std::string uppercase(std::string_view text) {
  return converted(text, [](icu::StringPiece from, icu::ByteSink& to, UErrorCode& status) {
    icu::CaseMap::utf8ToUpper("", 0, from, to, nullptr, status);
  });
}

std::string normalize(std::string_view text, NormalForm form) {
  const bool compatible = form == NormalForm::KC || form == NormalForm::KD;
  const bool composed = form == NormalForm::C || form == NormalForm::KC;
  UErrorCode status = U_ZERO_ERROR;
  static const icu::UnicodeSet known(u"[:age=9.0:]", status);
  const auto* current = icu::Normalizer2::getInstance(nullptr, compatible ? "nfkc" : "nfc",
                                                      composed ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, status);
  check(status);
  const icu::FilteredNormalizer2 normalizer(*current, known);
  return converted(text, [&](icu::StringPiece from, icu::ByteSink& to, UErrorCode& failure) {
    normalizer.normalizeUTF8(0, from, to, nullptr, failure);
  });
}

std::string nfc(std::string_view text) {
  return converted(text, [](icu::StringPiece from, icu::ByteSink& to, UErrorCode& status) {
    if (const auto* normalizer = icu::Normalizer2::getNFCInstance(status))
      normalizer->normalizeUTF8(0, from, to, nullptr, status);
  });
}

std::vector<size_t> grapheme_ends(std::string_view text) {
  UErrorCode status = U_ZERO_ERROR;
  const std::unique_ptr<UBreakIterator, decltype(&ubrk_close)> breaks(
      ubrk_open(UBRK_CHARACTER, "", nullptr, 0, &status), &ubrk_close);
  const std::unique_ptr<UText, decltype(&utext_close)> utf8(
      utext_openUTF8(nullptr, text.data(), static_cast<int64_t>(text.size()), &status), &utext_close);
  ubrk_setUText(breaks.get(), utf8.get(), &status);
  check(status);
  std::vector<size_t> ends;
  ubrk_first(breaks.get());
  for (auto end = ubrk_next(breaks.get()); end != UBRK_DONE; end = ubrk_next(breaks.get()))
    ends.push_back(static_cast<size_t>(end));
  return ends;
}

}  // namespace eav::text
