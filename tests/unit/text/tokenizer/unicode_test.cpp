#include "text/tokenizer/unicode.h"

#include <gtest/gtest.h>

namespace eav::text {
namespace {

TEST(Unicode, TellsUtf8FromOtherBytes) {
  EXPECT_TRUE(is_utf8(""));
  EXPECT_TRUE(is_utf8("aé漢😀"));
  EXPECT_TRUE(is_utf8(std::string_view("\0", 1)));
  EXPECT_FALSE(is_utf8("\xff"));
  EXPECT_FALSE(is_utf8("\xc3"));          // cut short
  EXPECT_FALSE(is_utf8("\xc0\xaf"));      // longer than needed
  EXPECT_FALSE(is_utf8("\xed\xa0\x80"));  // a surrogate
  EXPECT_FALSE(is_utf8("\xf4\x90\x80\x80"));
}

TEST(Unicode, RepairsWhatIsNotUtf8) { EXPECT_EQ(repaired_utf8("a\xff\xc3z"), "a\uFFFD\uFFFDz"); }

TEST(Unicode, LowercasesCodePointByCodePoint) {
  EXPECT_EQ(lowercase("ÀΣΑΣ İ ẞ"), "àσασ i\u0307 ß");  // no final sigma
}

TEST(Unicode, NormalForms) {
  EXPECT_EQ(normalize("e\u0301", NormalForm::C), "é");
  EXPECT_EQ(normalize("é", NormalForm::D), "e\u0301");
  EXPECT_EQ(normalize("ﬁ①", NormalForm::KC), "fi1");
  EXPECT_EQ(normalize("a\u0315\u0316", NormalForm::C), "a\u0316\u0315");  // marks are sorted
  EXPECT_EQ(normalize("a\u0315\u1DF7", NormalForm::C), "a\u0315\u1DF7");  // but for one that came with Unicode 10
}

TEST(Unicode, GraphemesAreWhatAReaderSeesAsOneCharacter) {
  EXPECT_EQ(grapheme_ends("e\u0301x"), (std::vector<size_t>{3, 4}));
  EXPECT_EQ(grapheme_ends("\r\n"), (std::vector<size_t>{2}));
  EXPECT_EQ(grapheme_ends("👩‍👩‍👧"), (std::vector<size_t>{18}));
  EXPECT_EQ(grapheme_ends(""), std::vector<size_t>{});
}

}  // namespace
}  // namespace eav::text
