// The kernel, through the functions for tensors, against its formula in float64, for every type and many shapes.
#include "enhance/cfi.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <limits>

#include "../enhance/cfi_formula.h"
#include "instruction_sets.h"

namespace eav {
namespace {

class CfiKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, CfiKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(CfiKernel, IsTheFormulaForManyShapes) {
  for (const int64_t frames : {2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 16, 17, 21, 33, 66, 257}) {
    for (const int64_t dim : {1, 40, 64, 128, 256}) {
      const auto pair = random_pair(frames, dim);
      const auto expected = reference(pair.query, pair.key, frames);
      EXPECT_LT(relative_error(cfi_per_head(pair.query, pair.key, frames), expected), 2e-6) << frames << " " << dim;
      EXPECT_LT(relative_error(cfi(pair.query, pair.key, frames), expected.mean(1)), 2e-6) << frames << " " << dim;
    }
  }
}

TEST_P(CfiKernel, IsTheFormulaIn16Bit) {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    for (const int64_t frames : {2, 13, 33}) {
      const auto pair = random_pair(frames, 80).to(type);
      EXPECT_LT(relative_error(cfi_per_head(pair.query, pair.key, frames), reference(pair.query, pair.key, frames)),
                1e-5);
    }
  }
}

TEST_P(CfiKernel, KeepsItsDigitsWhenMapsAreNearlyOneHot) {
  for (const double sharpness : {1.0, 1.5, 2.0}) {
    const auto [query, other] = random_pair(13, 64);
    const auto key = query * sharpness;
    const auto expected = reference(query, key, 13);
    EXPECT_LT(relative_error(cfi(query, key, 13), expected.mean(1)), 2e-6) << expected;
  }
}

TEST_P(CfiKernel, TakesLargeScores) {
  // Up to 1e6 from each other: all mass lies in one element, on the diagonal or off it.
  const auto [query, key] = random_pair(13, 64);
  EXPECT_LT(relative_error(cfi(query * 1e3, key * 1e3, 13), reference(query * 1e3, key * 1e3, 13).mean(1)), 2e-6);
  // A row whose highest score is so far off that every other exponential is zero.
  EXPECT_EQ(cfi(query * 1e3, query * 1e3, 13).max().item<float>(), 0);
}

TEST_P(CfiKernel, NanInNanOut) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    for (const double value : {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
      for (const bool in_query : {true, false}) {
        auto [query, key] = random_pair(13, 64).to(type);
        (in_query ? query : key).index_put_({at::tensor(1), at::tensor(2), at::tensor(38), at::tensor(63)}, value);
        const auto found = cfi_per_head(query, key, 13);
        EXPECT_TRUE(found[1][2].isnan().item<bool>());
        EXPECT_EQ(found.isnan().sum().item<int64_t>(), 1);
      }
    }
  }
}

TEST_P(CfiKernel, ReadsAnyStrides) {
  const auto [query, key] = random_pair(13, 64, 5);
  const auto expected = cfi(query, key, 13);
  const auto heads_last = [](const Tensor& t) { return t.transpose(1, 2).contiguous().transpose(1, 2); };
  const auto among_others = [](const Tensor& t) { return at::cat({t, t}, -1).slice(-1, 64); };
  const auto after_text = [](const Tensor& t) { return at::constant_pad_nd(t, {0, 0, 7, 2}, NAN).slice(2, 7, 7 + 65); };
  EXPECT_LT(relative_error(cfi(heads_last(query), heads_last(key), 13), expected), 1e-6);
  EXPECT_TRUE(at::equal(cfi(query, heads_last(key), 13), expected));
  EXPECT_TRUE(at::equal(cfi(among_others(query), after_text(key), 13), expected));
}

TEST_P(CfiKernel, DoesNotDependOnTheNumberOfThreads) {
  const auto [query, key] = random_pair(5, 64, 300);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto serial = cfi_per_head(query, key, 5);
  const auto serial_map = attention_map(query, key, 5);
  at::set_num_threads(3);
  EXPECT_TRUE(at::equal(cfi_per_head(query, key, 5), serial));
  EXPECT_TRUE(at::equal(attention_map(query, key, 5), serial_map));
  at::set_num_threads(threads);
}

TEST_P(CfiKernel, AttentionMapIsTheFormula) {
  for (const int64_t frames : {1, 2, 5, 13, 33}) {
    const auto [query, key] = random_pair(frames, 64);
    const auto expected = reference_maps(query, key, frames).mean(2);
    EXPECT_LT((attention_map(query, key, frames) - expected).abs().max().item<double>(), 1e-6) << frames;
  }
}

}  // namespace
}  // namespace eav
