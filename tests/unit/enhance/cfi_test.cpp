// CFI of tensors that the kernel does not take, and of wrong ones; kernels/cfi_test.cpp is about the others.
#include "enhance/cfi.h"

#include <gtest/gtest.h>

#include "cfi_formula.h"
#include "eav/error.h"

namespace eav {
namespace {

TEST(Cfi, OtherTypesAndLargeMapsGoThroughAten) {
  const auto [query, key] = random_pair(13, 64);
  const auto expected = reference(query, key, 13);
  const auto strided = [](const Tensor& t) { return at::stack({t, t}, -1).select(-1, 0); };
  EXPECT_LT(relative_error(cfi_per_head(query.to(at::kDouble), key.to(at::kDouble), 13), expected), 1e-7);
  EXPECT_LT(relative_error(cfi_per_head(strided(query), strided(key), 13), expected), 2e-6);
  EXPECT_LT(relative_error(attention_map(strided(query), key, 13).sum({2, 3}), at::full({2, 3}, 13.0)), 1e-6);
  const auto [many, others] = random_pair(300, 8);
  EXPECT_LT(relative_error(cfi(many, others, 300), reference(many, others, 300).mean(1)), 2e-6);
}

TEST(Cfi, OfOneFrameIsZero) {
  const auto [query, key] = random_pair(1, 64);
  EXPECT_TRUE(at::equal(cfi(query, key, 1), at::zeros({2})));
}

TEST(Cfi, OfNoVideosIsEmpty) { EXPECT_EQ(cfi(at::ones({0, 2, 6, 4}), at::ones({0, 2, 6, 4}), 3).numel(), 0); }

TEST(Cfi, SaysWhichShapesDoNotFit) {
  const auto [query, key] = random_pair(13, 64);
  EXPECT_THROW(cfi(query, key, 12), Error);
  EXPECT_THROW(cfi(query, key, 0), Error);
  EXPECT_THROW(cfi(query[0], key[0], 13), Error);
  EXPECT_THROW(cfi(query, key.slice(1, 0, 2), 13), Error);
  EXPECT_THROW(cfi(query.to(at::kLong), key.to(at::kLong), 13), Error);
}

}  // namespace
}  // namespace eav
