#include "text/tokenizer/added_tokens.h"

#include <gtest/gtest.h>

#include "text/tokenizer/unigram.h"

namespace eav::text {
namespace {

// Pieces as text, those that are tokens with their id: "a|</s>=1".
std::string split(const std::vector<AddedToken>& tokens, std::string_view text,
                  const Normalizer& normalizer = unchanged()) {
  const Unigram model({{"<unk>", 0}, {"</s>", 0}}, 0);
  std::string all;
  for (const auto& piece : AddedTokens(tokens, model, normalizer).split(text, normalizer)) {
    if (!all.empty()) all += '|';
    all += piece.text;
    if (piece.id) all += "=" + std::to_string(*piece.id);
  }
  return all;
}

TEST(AddedTokens, AreFoundInsideText) {
  EXPECT_EQ(split({{"</s>"}, {"<x>"}}, "a </s>b<x>"), "a |</s>=1|b|<x>=2");
  EXPECT_EQ(split({{"</s>"}}, "</s></s>"), "</s>=1|</s>=1");
  EXPECT_EQ(split({{"</s>"}}, ""), "");
}

TEST(AddedTokens, TheLongestWins) { EXPECT_EQ(split({{"<a"}, {"<ab"}}, "<abc<ac"), "<ab=3|c|<a=2|c"); }

TEST(AddedTokens, TakeWhiteSpaceAlong) {
  EXPECT_EQ(split({{.content = "<x>", .lstrip = true}}, "a \t<x> b"), "a| \t<x>=2| b");
  EXPECT_EQ(split({{.content = "<x>", .rstrip = true}}, "a <x>\u3000b"), "a |<x>\u3000=2|b");
}

TEST(AddedTokens, SingleWordsHaveNoLettersBeside) {
  EXPECT_EQ(split({{.content = "of", .single_word = true}}, "of offer, of"), "of=2| offer, |of=2");
}

TEST(AddedTokens, NormalizedOnesAreFoundInNormalizedText) {
  EXPECT_EQ(split({{.content = "Day", .normalized = true}}, "A DAY", lowercased()), "a |day=2");
  EXPECT_EQ(split({{.content = "Day"}}, "A DAY Day", lowercased()), "a day |Day=2");
}

}  // namespace
}  // namespace eav::text
