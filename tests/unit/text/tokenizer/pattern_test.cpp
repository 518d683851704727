#include "text/tokenizer/pattern.h"

#include <gtest/gtest.h>

#include "eav/error.h"

namespace eav::text {
namespace {

std::vector<std::string> parts(const std::string& text, const Pattern& pattern, Delimiter delimiter) {
  std::vector<std::string> all;
  for (const auto& part : split(pattern(text), delimiter))
    all.push_back(text.substr(part.begin, part.end - part.begin));
  return all;
}

using Parts = std::vector<std::string>;

TEST(Pattern, SplitsInFiveWays) {
  const auto dash = literal("-");
  const std::string text = "-a--b-";
  EXPECT_EQ(parts(text, dash, Delimiter::removed), (Parts{"a", "b"}));
  EXPECT_EQ(parts(text, dash, Delimiter::isolated), (Parts{"-", "a", "-", "-", "b", "-"}));
  EXPECT_EQ(parts(text, dash, Delimiter::merged_with_previous), (Parts{"-", "a-", "-", "b-"}));
  EXPECT_EQ(parts(text, dash, Delimiter::merged_with_next), (Parts{"-a", "-", "-b", "-"}));
  EXPECT_EQ(parts(text, dash, Delimiter::contiguous), (Parts{"-", "a", "--", "b", "-"}));
}

TEST(Pattern, CoversTextWithoutAMatch) {
  EXPECT_EQ(parts("abc", literal("-"), Delimiter::removed), (Parts{"abc"}));
  EXPECT_EQ(parts("", literal("-"), Delimiter::removed), Parts{});
  EXPECT_EQ(parts("---", literal("-"), Delimiter::removed), Parts{});
}

TEST(Pattern, WhitespaceIsUnicodes) {
  EXPECT_EQ(parts("a\u3000b\u00a0\tc\u200bd", whitespace(), Delimiter::removed), (Parts{"a", "b", "c\u200bd"}));
}

TEST(Pattern, RegexMatchesUnicodeClasses) {
  EXPECT_EQ(parts("éa1٣!", regex(R"(\p{L}+|\p{N})"), Delimiter::isolated), (Parts{"éa", "1", "٣", "!"}));
  EXPECT_EQ(parts("a b", inverse(regex(R"(\w+)")), Delimiter::removed), (Parts{"a", "b"}));
}

TEST(Pattern, RegexGoesOnAfterEmptyMatches) {
  EXPECT_EQ(parts("éxé", regex("x*"), Delimiter::removed), (Parts{"é", "é"}));
  EXPECT_EQ(replace("abc", regex("b*"), "-"), "-a-c-");
}

TEST(Pattern, MalformedRegexIsAnError) { EXPECT_THROW(regex("(a"), Error); }

TEST(Pattern, SearchesThatDoNotEndAreErrors) { EXPECT_THROW(regex("(x+x+)+y")(std::string(100, 'x')), Error); }

TEST(Pattern, TextsDoNotGrowWithoutBound) {
  std::string text = "x";
  EXPECT_THROW(
      {
        for (int i = 0; i < 40; ++i) text = replace(text, literal("x"), "xx");
      },
      Error);
}

}  // namespace
}  // namespace eav::text
