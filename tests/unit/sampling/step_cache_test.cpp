#include "sampling/step_cache.h"

#include <gtest/gtest.h>

#include "enhance/adaptive.h"
#include "sampling/caches/mag.h"

namespace eav {
namespace {

constexpr int64_t T = 4, S = 3, kLayers = 2;

// What a run asks its layers at each step, in order: CFI is measured for "0" and "1", "r" reuses from layer 0 on and
// "b" from layer 1 on.
class Reuse : public ::testing::Test {
 protected:
  Trace run(bool adaptive, const std::vector<std::string>& steps) {
    at::manual_seed(1);
    Enhancer enhancer({.weight = 3.0, .adaptive = adaptive}, std::ssize(steps), kLayers);
    for (size_t i = 0; i < steps.size(); ++i) {
      enhancer.begin_step(static_cast<int64_t>(i));
      for (const auto what : steps[i])
        if (what == 'r' || what == 'b')
          enhancer.reuse(0, what == 'b' ? 1 : 0);
        else
          enhancer.gain(what - '0', at::randn({1, 2, T * S, 8}), at::randn({1, 2, T * S, 8}), {T, S});
    }
    return enhancer.trace();
  }
};

TEST_F(Reuse, KeepsTheGainsOfTheLastComputedStep) {
  const auto trace = run(false, {"01", "r", "0b", "01", "r"});
  ASSERT_EQ(trace.entries.size(), 10u);
  EXPECT_EQ(trace.reused_steps, (std::vector<int64_t>{1, 2, 4}));
  EXPECT_EQ(trace.computed_steps(), 2);
  const auto& e = trace.entries;
  const std::vector<bool> reused{false, false, true, true, false, true, false, false, true, true};
  for (size_t i = 0; i < e.size(); ++i) {
    EXPECT_EQ(e[i].step, static_cast<int64_t>(i / 2));
    EXPECT_EQ(e[i].layer, static_cast<int64_t>(i % 2));
    EXPECT_EQ(e[i].reused, reused[i]);
  }
  const auto same = [](const TraceEntry& a, const TraceEntry& b) { return a.cfi == b.cfi && a.gain == b.gain; };
  EXPECT_TRUE(same(e[2], e[0]) && same(e[3], e[1]));
  EXPECT_TRUE(!same(e[4], e[0]) && same(e[5], e[1]));  // the first block has its own
  EXPECT_TRUE(same(e[8], e[6]) && same(e[9], e[7]));
}

// The weight follows steps that were computed whole, each of them once.
TEST_F(Reuse, AutoReadsComputedLayersOnly) {
  const auto trace = run(true, {"01", "r", "0b", "01"});
  const auto& e = trace.entries;
  const auto first = first_adapted_weight(T);
  EXPECT_EQ(e[0].weight, first);
  const std::vector<double> cfi{e[0].cfi, e[1].cfi};
  EXPECT_DOUBLE_EQ(e[6].weight, adapted_weight(cfi, T, first));
  EXPECT_EQ(e[3].weight, first);  // of a reused layer, that of the step that computed it
}

TEST(MagRatios, AreSpreadOverOtherNumbersOfSteps) {
  EXPECT_EQ(ratios_of_steps({1, 2, 3}, 3), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(ratios_of_steps({1, 2, 3}, 5), (std::vector<double>{1, 1, 2, 3, 3}));  // halves to even
  EXPECT_EQ(ratios_of_steps({1, 2, 3}, 2), (std::vector<double>{1, 3}));
  EXPECT_EQ(ratios_of_steps({1, 2, 3}, 1), (std::vector<double>{3}));
}

// What a cache keeps serves one model and one number of branches: another begins anew.
TEST(StepCache, ForgetsWhereAnotherModelOrOtherBranchesBegin) {
  Progress progress;
  Enhancer enhancer({.enabled = false, .weight = 0.0}, 9, 1);
  const auto computes = [&](const std::vector<std::pair<ModelSteps, int64_t>>& steps) {
    const auto cache = make_step_cache({.kind = CacheOptions::Kind::first_block, .threshold = 1000});
    Step step{{1, 2}, enhancer, progress};
    step.count = std::ssize(steps);
    std::vector<bool> computed;
    for (const auto& [of_model, branches] : steps) {
      cache->begin_step(of_model, branches);
      bool rest = false;
      const auto tokens = at::ones({1, 2, 3});
      cache->blocks(tokens, step, [&] { tokens.add_(1); }, [&] { rest = true; });
      computed.push_back(rest);
      ++step.index;
    }
    return computed;
  };
  const ModelSteps first{0, 2}, second{2, 3};
  EXPECT_EQ(computes({{first, 0}, {first, 0}, {second, 0}, {second, 0}, {second, 1}}),
            (std::vector<bool>{true, false, true, false, true}));
}

}  // namespace
}  // namespace eav
