#include "text/tokenizer/unigram.h"

#include <gtest/gtest.h>

#include "eav/error.h"

namespace eav::text {
namespace {

std::vector<int64_t> ids(const Unigram& model, std::string_view word) {
  std::vector<int64_t> all;
  model.tokenize(word, all);
  return all;
}

using Ids = std::vector<int64_t>;

TEST(Unigram, TakesTheMostProbablePath) {
  const Unigram model({{"<unk>", 0}, {"a", -1}, {"b", -1}, {"ab", -1.5}, {"abc", -5}, {"c", -1}}, 0);
  EXPECT_EQ(ids(model, "ab"), Ids{3});        // one token of -1.5 before two of -1
  EXPECT_EQ(ids(model, "abc"), (Ids{3, 5}));  // -2.5 before -5
}

TEST(Unigram, FindsEveryTokenThatAWordBeginsWith) {
  const Unigram model({{"<unk>", 0}, {"abcd", -1}, {"ab", -1}, {"", -1}, {"a", -9}, {"ab", -2}, {"abé", -1}, {"b", -9}},
                      0);
  EXPECT_EQ(ids(model, "abcd"), Ids{1});
  EXPECT_EQ(ids(model, "abé"), Ids{6});
  EXPECT_EQ(ids(model, "abab"), (Ids{5, 5}));  // of two that are alike the last one counts
  EXPECT_EQ(ids(model, "abc"), (Ids{5, 0}));
  EXPECT_EQ(model.id("ab"), 5);
  EXPECT_EQ(model.id(""), 3);
}

TEST(Unigram, CutsLongWordsIntoLongTokens) {
  Unigram::Vocabulary vocabulary{{"<unk>", 0}};
  for (size_t length = 1; length <= 1000; ++length) vocabulary.emplace_back(std::string(length, 'a'), -1);
  const Unigram model(std::move(vocabulary), 0);
  EXPECT_EQ(ids(model, std::string(20'000, 'a')), Ids(20, 1000));
}

TEST(Unigram, NeighbouringUnknownCharactersAreOneToken) {
  const Unigram model({{"<unk>", 0}, {"a", -1}}, 0);
  EXPECT_EQ(ids(model, "漢字a漢"), (Ids{0, 1, 0}));
}

TEST(Unigram, FallsBackToBytes) {
  const Unigram model({{"<unk>", 0}, {"<0xC3>", -1}, {"<0xA9>", -1}}, 0, /*byte_fallback=*/true);
  EXPECT_EQ(ids(model, "é"), (Ids{1, 2}));
  EXPECT_EQ(ids(model, "è"), (Ids{0}));  // <0xA8> is missing
}

TEST(Unigram, UnknownCharactersNeedAnUnknownToken) {
  const Unigram model({{"a", -1}}, std::nullopt);
  EXPECT_EQ(ids(model, "aa"), (Ids{0, 0}));
  EXPECT_THROW(ids(model, "b"), Error);
  EXPECT_THROW(Unigram({{"a", -1}}, 1), Error);
}

TEST(Unigram, NamesItsTokens) {
  const Unigram model({{"<unk>", 0}, {"a", -1}}, 0);
  EXPECT_EQ(model.size(), 2);
  EXPECT_EQ(model.id("a"), 1);
  EXPECT_EQ(model.id("b"), std::nullopt);
  EXPECT_EQ(model.token(1), "a");
  EXPECT_EQ(model.token(2), std::nullopt);
  EXPECT_EQ(model.token(-1), std::nullopt);
}

}  // namespace
}  // namespace eav::text
