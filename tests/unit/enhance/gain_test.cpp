// A gain against products in float64, and the enhancer's gain against the method's formula.
#include "enhance/gain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "enhance/enhancer.h"

namespace eav {
namespace {

TEST(Gain, OfOneGivesWhatItGets) {
  const auto gate = at::randn({5});
  EXPECT_TRUE((Gain() * gate).is_same(gate));
  const auto before = gate.clone();
  Gain().scale_(gate);
  EXPECT_TRUE(gate.equal(before));
}

TEST(Gain, IsMultipliedInTheTypeOfWhatItScales) {
  const Gain gain(at::full({1, 1, 1}, 1.37f));
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto gate = at::randn({64}).to(type);
    const auto scaled = gain * gate;
    EXPECT_EQ(scaled.scalar_type(), type);
    EXPECT_EQ(scaled.sizes(), (std::vector<int64_t>{1, 1, 64}));
    const auto expected = gate.to(at::kDouble) * 1.37, tolerance = expected.abs() * (type == at::kFloat ? 1e-6 : 8e-3);
    EXPECT_TRUE(((scaled[0][0].to(at::kDouble) - expected).abs() <= tolerance).all().item<bool>()) << type;

    const auto tokens = gate.view({1, 4, 16}).clone();
    gain.scale_(tokens.slice(1, 1, 3));
    EXPECT_TRUE(tokens.flatten().slice(0, 16, 48).equal(scaled.flatten().slice(0, 16, 48)));
    EXPECT_TRUE(tokens.flatten().slice(0, 0, 16).equal(gate.slice(0, 0, 16)));
  }
}

// max(1, CFI * (T + weight)), CFI being the mean of what lies off the diagonal of the temporal attention maps.
TEST(Gain, OfTheEnhancerIsTheMethods) {
  const int64_t T = 4, S = 6, d = 16;
  const auto q = at::randn({2, 3, T * S, d}), k = at::randn({2, 3, T * S, d});
  const auto by_position = [&](const Tensor& x) { return x.to(at::kDouble).unflatten(2, {T, S}).transpose(2, 3); };
  const auto maps = at::softmax(at::matmul(by_position(q), by_position(k).transpose(-1, -2)) / 4.0, -1);
  const auto diagonal = maps.diagonal(0, -2, -1).mean().item<double>();
  const auto factor = (1 - diagonal) / (T - 1) * (T + 3.5);

  Enhancer enhancer({.enabled = true, .weight = 3.5}, 1, 1);
  const auto gain = enhancer.gain(0, q, k, {T, S}) * at::ones({1}, at::kDouble);
  EXPECT_NEAR(gain.item<double>(), std::max(1.0, factor), 1e-6);

  const auto one = at::ones({1});
  EXPECT_TRUE((enhancer.gain(0, q, k, {1, T * S}) * one).is_same(one)) << "a single frame";
  Enhancer off({.enabled = false, .weight = 3.5}, 1, 1);
  EXPECT_TRUE((off.gain(0, q, k, {T, S}) * one).is_same(one));
  EXPECT_TRUE(off.trace().entries.empty());
}

// Where attention is broken, the adapted weights and the trace stay numbers.
TEST(Gain, IsOneWhereCfiIsNotANumber) {
  const int64_t T = 3, S = 4;
  const auto good = at::randn({1, 2, T * S, 16}), bad = at::full_like(good, std::nan(""));
  Enhancer enhancer({.enabled = true, .adaptive = true, .maps = true}, 3, 2);
  for (int64_t step = 0; step < 3; ++step) {
    enhancer.begin_step(step);
    const auto gain = enhancer.gain(0, bad, good, {T, S}) * at::ones({1}, at::kDouble);
    EXPECT_EQ(gain.item<double>(), 1) << step;
    enhancer.gain(1, good, good, {T, S});
  }
  const auto trace = enhancer.trace();
  ASSERT_EQ(trace.entries.size(), 6);
  for (const auto& entry : trace.entries) {
    EXPECT_TRUE(std::isfinite(entry.weight) && std::isfinite(entry.cfi)) << entry.weight << " " << entry.cfi;
    EXPECT_GE(entry.gain, 1);
    for (const auto cfi : entry.heads) EXPECT_TRUE(std::isfinite(cfi));
    for (const auto part : entry.map) EXPECT_TRUE(std::isfinite(part));
  }
}

}  // namespace
}  // namespace eav
