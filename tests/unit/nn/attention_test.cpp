// Attention against its formula in float64: softmax(q k^T * scale + bias) v.
#include "nn/attention.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <tuple>

namespace eav {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor formula(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& bias = at::zeros({1}, at::kDouble),
               std::optional<double> scale = {}) {
  const auto wide = [&](const Tensor& x) { return x.to(at::kDouble).repeat_interleave(q.size(1) / x.size(1), 1); };
  const auto scores = at::matmul(wide(q), wide(k).transpose(-1, -2));
  const auto factor = scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  return at::matmul(at::softmax(scores * factor + bias, -1), wide(v));
}

double error(const Tensor& found, const Tensor& expected) {
  return (found.to(at::kDouble) - expected).abs().max().item<double>();
}

// Tokens of several heads as a layer has them, [B, L, heads * d].
struct Qkv {
  Tensor q, k, v;
  Qkv(int64_t batch, int64_t length, int64_t channels)
      : q(at::randn({batch, length, channels})), k(at::randn_like(q)), v(at::randn_like(q)) {}
};

TEST(Attention, HeadsAreSplitAndMerged) {
  const auto x = at::randn({2, 5, 12});
  const auto heads = split_heads(x, 3);
  EXPECT_EQ(heads.sizes(), (std::vector<int64_t>{2, 3, 5, 4}));
  EXPECT_TRUE(heads[1][2][4].equal(x[1][4].slice(0, 8)));
  EXPECT_TRUE(merge_heads(heads).equal(x));
}

TEST(Attention, IsItsFormula) {
  const Qkv x(2, 37, 3 * 16);
  const auto q = split_heads(x.q, 3), k = split_heads(x.k, 3), v = split_heads(x.v, 3);
  EXPECT_LT(error(attend(q, k, v), formula(q, k, v)), 2e-6);
  EXPECT_LT(error(attend(q, k.slice(2, 4), v.slice(2, 4)), formula(q, k.slice(2, 4), v.slice(2, 4))), 2e-6);

  const auto bias = at::randn({1, 3, 37, 37});
  EXPECT_LT(error(attend(q, k, v, {.bias = bias, .scale = 1.0}), formula(q, k, v, bias.to(at::kDouble), 1.0)), 5e-6);

  const auto seen = at::arange(37) < 30;
  const auto hidden = at::zeros({37}, at::kDouble).masked_fill(seen.logical_not(), -kInfinity);
  EXPECT_LT(error(attend(q, k, v, {.bias = seen.view({1, 1, 1, 37})}), formula(q, k, v, hidden)), 2e-6);

  const auto later = at::full({37, 37}, -kInfinity, at::kDouble).triu(1);
  EXPECT_LT(error(attend(q, k, v, {.causal = true}), formula(q, k, v, later)), 2e-6);
}

TEST(Attention, IsItsFormulaInBfloat16) {
  const Qkv x(2, 37, 3 * 16);
  const auto heads = [](const Tensor& of) { return split_heads(of.to(at::kBFloat16), 3); };
  const auto q = heads(x.q), k = heads(x.k), v = heads(x.v);
  EXPECT_LT(error(attend(q, k, v), formula(q, k, v)), 2e-2);
  EXPECT_LT(error(attend(q, k, v, {.scale = 1.0}), formula(q, k, v, at::zeros({1}, at::kDouble), 1.0)), 3e-2);
  // What each video sees: neighbours, others, and nothing but one.
  for (const auto& [first, last, step] : {std::tuple{0, 30, 1}, {5, 37, 1}, {0, 37, 2}, {36, 37, 1}}) {
    const auto seen = at::zeros({2, 37}, at::kBool);
    seen.slice(1, first, last, step).fill_(true);
    seen[1].slice(0, 0, 37).fill_(true);
    const auto hidden =
        at::zeros({2, 1, 1, 37}, at::kDouble).masked_fill(seen.view({2, 1, 1, 37}).logical_not(), -kInfinity);
    EXPECT_LT(error(attend(q, k, v, {.bias = seen.view({2, 1, 1, 37})}), formula(q, k, v, hidden)), 2e-2) << first;
  }
}

TEST(Attention, AHeadOfKeysServesNeighbouringHeadsOfQueries) {
  const Qkv x(1, 21, 6 * 8);
  const auto q = split_heads(x.q, 6), k = split_heads(x.k, 6).slice(1, 0, 2), v = split_heads(x.v, 6).slice(1, 0, 2);
  const auto later = at::full({21, 21}, -kInfinity, at::kDouble).triu(1);
  EXPECT_LT(error(attend(q, k, v, {.causal = true}), formula(q, k, v, later)), 2e-6);
}

// A clip of T frames of S positions, and what the enhancement measures of it.
class VideoAttention : public testing::Test {
 protected:
  static constexpr int64_t T = 3, S = 8, kHeads = 2, d = 16;
  static constexpr double kWeight = 2.5;

  // The method's gain from queries and keys of the video alone.
  static double expected_gain(const Tensor& q, const Tensor& k) {
    const auto by_position = [](const Tensor& x) { return x.to(at::kDouble).unflatten(2, {T, S}).transpose(2, 3); };
    const auto maps = at::softmax(at::matmul(by_position(q), by_position(k).transpose(-1, -2)) / 4.0, -1);
    return std::max(1.0, (1 - maps.diagonal(0, -2, -1).mean().item<double>()) / (T - 1) * (T + kWeight));
  }
  static double factor(const Gain& gain) { return (gain * at::ones({1})).item<double>(); }

  Enhancer enhancer_{{.enabled = true, .weight = kWeight}, 1, 4};
  Progress progress_;
  Step step_{{T, S}, enhancer_, progress_};
};

TEST_F(VideoAttention, MeasuresTheVideosTokensAlone) {
  for (const int64_t before : {0, 5})
    for (const int64_t after : {0, 7}) {
      const Qkv x(2, before + T * S + after, kHeads * d);
      const auto q = split_heads(x.q, kHeads), k = split_heads(x.k, kHeads), v = split_heads(x.v, kHeads);
      const auto [tokens, gain] = attend(q, k, v, VideoLayer{1, step_, before});
      EXPECT_LT(error(tokens, formula(q, k, v)), 2e-6);
      const auto of_video = [&](const Tensor& t) { return t.narrow(2, before, T * S); };
      EXPECT_NEAR(factor(gain), expected_gain(of_video(q), of_video(k)), 1e-6) << before << " " << after;
    }
  EXPECT_EQ(enhancer_.trace().entries.at(0).layer, 1);
}

TEST_F(VideoAttention, Factorised) {
  const Qkv x(2, T * S, kHeads * d);
  const auto q = split_heads(x.q, kHeads), k = split_heads(x.k, kHeads), v = split_heads(x.v, kHeads);
  // [B * S, heads, T, d] and [B * T, heads, S, d]
  const auto over_time = [](const Tensor& t) { return t.unflatten(2, {T, S}).permute({0, 3, 1, 2, 4}).flatten(0, 1); };
  const auto in_frames = [](const Tensor& t) { return t.unflatten(2, {T, S}).permute({0, 2, 1, 3, 4}).flatten(0, 1); };

  const auto [tokens, gain] = attend_over_time(q, k, v, VideoLayer{0, step_, 0});
  EXPECT_LT(error(over_time(tokens), formula(over_time(q), over_time(k), over_time(v))), 2e-6);
  EXPECT_NEAR(factor(gain), expected_gain(q, k), 1e-6);

  const auto spatial = attend_in_frames(q, k, v, step_.grid);
  EXPECT_LT(error(in_frames(spatial), formula(in_frames(q), in_frames(k), in_frames(v))), 2e-6);
  EXPECT_EQ(enhancer_.trace().entries.size(), 1U) << "attention within frames is not measured";
}

}  // namespace
}  // namespace eav
