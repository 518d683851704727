#include "text/tokenizer/bpe.h"

#include <gtest/gtest.h>

#include "eav/error.h"

namespace eav::text {
namespace {

using Ids = std::vector<int64_t>;

Ids ids(const Bpe& model, std::string_view word) {
  Ids all;
  model.tokenize(word, all);
  return all;
}

const Bpe::Vocabulary kVocabulary{{"a", 0}, {"b", 1}, {"c", 2}, {"ab", 3}, {"bc", 4}, {"abc", 5}, {"<unk>", 6}};

TEST(Bpe, MergesInTheOrderOfTheList) {
  EXPECT_EQ(ids(Bpe(kVocabulary, {{"b", "c"}, {"a", "b"}}, {}), "abc"), (Ids{0, 4}));
  EXPECT_EQ(ids(Bpe(kVocabulary, {{"a", "b"}, {"b", "c"}}, {}), "abc"), (Ids{3, 2}));
  EXPECT_EQ(ids(Bpe(kVocabulary, {{"b", "c"}, {"a", "bc"}}, {}), "abcabc"), (Ids{5, 5}));
}

TEST(Bpe, OverlappingPairsMergeFromTheLeft) {
  const Bpe::Vocabulary vocabulary{{"a", 0}, {"aa", 1}};
  EXPECT_EQ(ids(Bpe(vocabulary, {{"a", "a"}}, {}), "aaaaa"), (Ids{1, 1, 0}));
}

TEST(Bpe, UnknownCharacters) {
  EXPECT_EQ(ids(Bpe(kVocabulary, {}, {}), "axyb"), (Ids{0, 1}));  // no unknown token: dropped
  EXPECT_EQ(ids(Bpe(kVocabulary, {}, {.unknown = "<unk>"}), "axyb"), (Ids{0, 6, 6, 1}));
  EXPECT_EQ(ids(Bpe(kVocabulary, {}, {.unknown = "<unk>", .fuse_unknown = true}), "axyb"), (Ids{0, 6, 1}));
}

TEST(Bpe, MarksTheEndOfAWord) {
  const Bpe::Vocabulary vocabulary{{"a", 0}, {"b", 1}, {"b</w>", 2}, {"ab</w>", 3}};
  const Bpe model(vocabulary, {{"a", "b</w>"}}, {.end_of_word_suffix = "</w>"});
  EXPECT_EQ(ids(model, "ab"), Ids{3});
  EXPECT_EQ(ids(model, "bb"), (Ids{1, 2}));
}

TEST(Bpe, WholeWordsMayComeBeforeMerges) {
  EXPECT_EQ(ids(Bpe(kVocabulary, {}, {.ignore_merges = true}), "abc"), Ids{5});
  EXPECT_EQ(ids(Bpe(kVocabulary, {}, {}), "abc"), (Ids{0, 1, 2}));
}

TEST(Bpe, MergesNameKnownTokens) {
  EXPECT_THROW(Bpe(kVocabulary, {{"a", "x"}}, {}), Error);
  EXPECT_THROW(Bpe(kVocabulary, {{"c", "a"}}, {}), Error);
  EXPECT_THROW(Bpe(kVocabulary, {}, {.unknown = "?"}), Error);
}

}  // namespace
}  // namespace eav::text
