// CFI against its formula in float64, for every instruction set that this CPU has, every type and many shapes.
#include "enhance/cfi.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <cmath>
#include <limits>
#include <vector>

#include "eav/error.h"

namespace eav {
namespace {
using at::Tensor;

// The attention maps [B, heads, S, T, T] in float64.
Tensor reference_maps(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto by_position = [&](const Tensor& t) {
    return t.to(at::kDouble).unflatten(2, {frames, -1}).transpose(2, 3);
  };
  const double scale = std::sqrt(static_cast<double>(query.size(3)));
  return at::softmax(at::matmul(by_position(query), by_position(key).transpose(-1, -2)) / scale, -1);
}

// [B, heads] in float64.
Tensor reference(const Tensor& query, const Tensor& key, int64_t frames) {
  const auto others = at::eye(frames, at::kBool).logical_not();
  const auto mass = at::where(others, reference_maps(query, key, frames), 0.0).sum({-1, -2}).mean(-1);
  return mass / static_cast<double>(frames * (frames - 1));
}

double relative_error(const Tensor& found, const Tensor& expected) {
  return ((found.to(at::kDouble) - expected).abs() / expected).max().item<double>();
}

struct Pair {
  Tensor query, key;
  Pair to(at::ScalarType type) const { return {query.to(type), key.to(type)}; }
};

Pair random_pair(int64_t frames, int64_t dim, int64_t positions = 3, int64_t batch = 2, int64_t heads = 3) {
  at::manual_seed(static_cast<uint64_t>(frames * 1000 + dim));
  const std::vector<int64_t> shape{batch, heads, frames * positions, dim};
  return {at::randn(shape), at::randn(shape)};
}

// One test for each instruction set that the kernel is compiled for and this CPU has.
class CfiKernel : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { use_target(GetParam()); }
  void TearDown() override { use_target(0); }

 private:
  // 0 stands for what the CPU has.
  static void use_target(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

std::vector<int64_t> targets() {
  std::vector<int64_t> found;
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) found.push_back(rest & -rest);
  return found;
}

INSTANTIATE_TEST_SUITE_P(Targets, CfiKernel, testing::ValuesIn(targets()),
                         [](const auto& target) { return std::string(hwy::TargetName(target.param)); });

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
