#include "text/prompt.h"

#include <gtest/gtest.h>

#include "eav/error.h"
#include "text/tokenizer/unigram.h"

namespace eav {
namespace {

// "a b c" is 2 3 4; a text ends with 1 and is filled up with 5.
Tokenizer letters() {
  TokenizerStages stages;
  stages.model = std::make_shared<text::Unigram>(
      text::Unigram::Vocabulary{{"<unk>", 0}, {"</s>", 0}, {"▁a", -1}, {"▁b", -1}, {"▁c", -1}}, 0);
  stages.pre_tokenizer = text::metaspace("▁", text::Prepend::always);
  stages.decoder = text::metaspace_decoder("▁", /*prepends=*/true);
  stages.after = {1};
  stages.padding = 5;
  return Tokenizer(std::move(stages));
}

TEST(Prompt, ShortTextsAreFilledUp) {
  const auto prompt = tokenize(letters(), "a b", 5);
  EXPECT_TRUE(prompt.ids.equal(at::tensor({2, 3, 1, 5, 5}, at::kLong).unsqueeze(0)));
  EXPECT_TRUE(prompt.mask.equal(at::tensor({1, 1, 1, 0, 0}, at::kLong).to(at::kBool).unsqueeze(0)));
  EXPECT_EQ(prompt.cut, "");
}

TEST(Prompt, LongTextsLoseTheirEndButNotTheEndToken) {
  const auto prompt = tokenize(letters(), "a b c a", 3);
  EXPECT_TRUE(prompt.ids.equal(at::tensor({2, 3, 1}, at::kLong).unsqueeze(0)));
  EXPECT_TRUE(prompt.mask.all().item<bool>());
  EXPECT_EQ(prompt.cut, "c a");
}

TEST(Prompt, TextsThatJustFitAreWhole) {
  EXPECT_EQ(tokenize(letters(), "a b", 3).cut, "");
  EXPECT_TRUE(tokenize(letters(), "", 3).ids.equal(at::tensor({1, 5, 5}, at::kLong).unsqueeze(0)));
}

TEST(Prompt, NeedsRoomForText) { EXPECT_THROW(tokenize(letters(), "a", 1), Error); }

}  // namespace
}  // namespace eav
