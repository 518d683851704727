#include "compare/statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <random>

namespace eav {
namespace {

// As many prompts, two seeds each, normally distributed around `mean` with a deviation of 1 between prompts.
Differences around(double mean, size_t prompts, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(mean, 1);
  Differences differences(prompts);
  for (auto& seeds : differences) {
    const double own = normal(random);
    seeds = {own, own};
  }
  return differences;
}

TEST(Statistics, TheIntervalIsThatOfTheMeanOfPrompts) {
  const auto differences = around(0.3, 100, 1);
  double sum = 0, squares = 0;
  for (const auto& seeds : differences) sum += seeds[0], squares += seeds[0] * seeds[0];
  const double mean = sum / 100, error = std::sqrt((squares / 100 - mean * mean) / 100);
  const auto result = estimate(differences, 1);
  EXPECT_NEAR(result.mean, mean, 1e-12);
  EXPECT_EQ(result.pairs, 200);
  // Seeds of a prompt that are alike count once: the interval is that of 100 values, not of 200.
  EXPECT_NEAR(result.low, mean - 1.96 * error, 0.15 * error);
  EXPECT_NEAR(result.high, mean + 1.96 * error, 0.15 * error);
}

TEST(Statistics, PIsThatOfANormalTest) {
  const auto differences = around(0.2, 100, 7);
  double sum = 0, squares = 0;
  for (const auto& seeds : differences) sum += seeds[0], squares += seeds[0] * seeds[0];
  const double z = std::abs(sum) / std::sqrt(squares);  // of flipped signs
  EXPECT_NEAR(estimate(differences, 1).p, std::erfc(z / std::sqrt(2)), 0.015);
}

TEST(Statistics, FewFlipsAreCountedExactly) {
  // Of 2^3 signs two are as large as the observed sum.
  EXPECT_NEAR(estimate({{1}, {2}, {4}}, 1).p, 0.25, 0.015);
  EXPECT_EQ(estimate({{0}, {0}}, 1).p, 1);
}

TEST(Statistics, WinsFollowWhatIsBetter) {
  const Differences differences{{1, -1}, {2}, {0}};
  EXPECT_EQ(estimate(differences, 1).win_rate, 2.5 / 4);
  EXPECT_EQ(estimate(differences, -1).win_rate, 1.5 / 4);
}

TEST(Statistics, TheSameDifferencesGiveTheSameEstimate) {
  const auto differences = around(0.1, 20, 3);
  const auto a = estimate(differences, 1), b = estimate(differences, 1);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.p, b.p);
}

TEST(Statistics, HolmStepsDown) {
  // Holm (1979): the smallest times 4, the next times 3 and so on, never below the one before.
  const auto corrected = holm(std::vector<double>{0.01, 0.04, 0.03, 0.005});
  const std::vector<double> expected{0.03, 0.06, 0.06, 0.02};
  ASSERT_EQ(corrected.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(corrected[i], expected[i], 1e-12);
  EXPECT_EQ(holm(std::vector<double>{0.9, 0.8})[0], 1);
}

}  // namespace
}  // namespace eav
