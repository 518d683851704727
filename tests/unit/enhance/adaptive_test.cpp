#include "enhance/adaptive.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace eav {
namespace {

double mean_gain(const std::vector<double>& cfi, double frames, double weight) {
  double sum = 0;
  for (const auto c : cfi) sum += std::max(1.0, c * (frames + weight));
  return sum / static_cast<double>(cfi.size());
}

// The weight that adapted_weight() goes half of the way to.
double goal(const std::vector<double>& cfi, int64_t frames) {
  double weight = 3;
  for (int i = 0; i < 200; ++i) weight = adapted_weight(cfi, frames, weight);
  return weight;
}

TEST(Adaptive, TheFirstWeightMeansTheSameAtEveryLength) {
  for (const int64_t frames : {2, 7, 13, 33}) {
    const std::vector<double> alike(5, 1.0 / static_cast<double>(frames));  // layers that look at all frames alike
    EXPECT_NEAR(mean_gain(alike, static_cast<double>(frames), first_adapted_weight(frames)), kTargetGain, 1e-12);
  }
}

TEST(Adaptive, ReachesTheTargetWhateverTheLayersAreLike) {
  std::mt19937 random(5);
  std::uniform_real_distribution<double> part(0.4, 1.02);
  for (const int64_t frames : {3, 13, 33}) {
    for (const size_t layers : {1u, 5u, 60u}) {
      std::vector<double> cfi(layers);
      for (auto& c : cfi) c = part(random) / static_cast<double>(frames);
      const auto weight = goal(cfi, frames);
      const auto most = 2.0 * static_cast<double>(frames);
      EXPECT_GE(weight, 0);
      EXPECT_LE(weight, most);
      if (weight > 1e-9 && weight < most - 1e-9) {
        EXPECT_NEAR(mean_gain(cfi, static_cast<double>(frames), weight), kTargetGain, 1e-9);
      }
    }
  }
}

TEST(Adaptive, GoesHalfOfTheWay) {
  const std::vector<double> cfi{0.1, 0.08, 0.05};
  const auto wanted = goal(cfi, 10);
  EXPECT_NEAR(adapted_weight(cfi, 10, 5), (5 + wanted) / 2, 1e-9);
  EXPECT_NEAR(adapted_weight(cfi, 10, wanted), wanted, 1e-9);
}

TEST(Adaptive, StaysWithinItsBounds) {
  EXPECT_NEAR(goal({0.0, 0.0}, 10), 20, 1e-9);     // no layer looks across frames
  EXPECT_NEAR(goal({1e-9, 1e-9}, 10), 20, 1e-9);   // hardly any
  EXPECT_NEAR(goal({0.0}, 90), 100, 1e-9);         // the weight's own bound
  EXPECT_NEAR(goal({0.3, 0.3, 0.3}, 5), 0, 1e-9);  // more than enough already
}

}  // namespace
}  // namespace eav
