#include "text/tokenizer/pre_tokenizer.h"

#include <gtest/gtest.h>

namespace eav::text {
namespace {

using Words = std::vector<std::string>;

Words words(const PreTokenizer& pre_tokenizer, const std::string& text, bool first = true) {
  Words all;
  for (const auto& piece : in_order({pre_tokenizer})({text, first, {}})) all.push_back(piece.text);
  return all;
}

TEST(PreTokenizer, MetaspaceBeginsWords) {
  EXPECT_EQ(words(metaspace("▁", Prepend::always), "a  b "), (Words{"▁a", "▁", "▁b", "▁"}));
  EXPECT_EQ(words(metaspace("▁", Prepend::always), " a"), (Words{"▁a"}));
  EXPECT_EQ(words(metaspace("▁", Prepend::never), "a b"), (Words{"a", "▁b"}));
  EXPECT_EQ(words(metaspace("▁", Prepend::first), "a", /*first=*/false), (Words{"a"}));
  EXPECT_EQ(words(metaspace("▁", Prepend::first), "a", /*first=*/true), (Words{"▁a"}));
  EXPECT_EQ(words(metaspace("▁", Prepend::always, /*split=*/false), "a b"), (Words{"▁a▁b"}));
}

TEST(PreTokenizer, ByteLevelWritesBytesAsLetters) {
  EXPECT_EQ(words(byte_level(/*prepend_space=*/false, /*split_words=*/true), "I'm é\n"),
            (Words{"I", "'m", "ĠÃ©", "Ċ"}));
  EXPECT_EQ(words(byte_level(/*prepend_space=*/true, /*split_words=*/false), "a b"), (Words{"ĠaĠb"}));
}

TEST(PreTokenizer, OneAfterTheOther) {
  const auto both = in_order({split_at(whitespace(), Delimiter::removed), metaspace("▁", Prepend::always)});
  EXPECT_EQ(words(both, " a\tb▁c "), (Words{"▁a", "▁b", "▁c"}));
}

}  // namespace
}  // namespace eav::text
