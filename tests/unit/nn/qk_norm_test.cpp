// The norm and rotation of queries and keys against their formulas in double precision.
#include "nn/qk_norm.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr double kEps = 1e-6;

// Each pair (even, odd) of x [B, tokens, heads, d] turned by its angle.
Tensor turned(const Tensor& x, const Rope& rope) {
  const auto pairs = x.unflatten(-1, {-1, 2});  // [B, tokens, heads, d/2, 2]
  const auto even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  const auto angle = [](const Tensor& t) { return t.slice(1, 0, t.size(1), 2).to(at::kDouble).unsqueeze(1); };
  const auto c = angle(rope.cos), s = angle(rope.sin);
  return at::stack({even * c - odd * s, odd * c + even * s}, -1).flatten(-2);
}

// x / sqrt(mean(x^2) + eps) * weight, then the first tokens turned.
Tensor expected(const Tensor& x, const Tensor& weight, const Rope* rope) {
  const auto wide = x.to(at::kDouble);
  auto y = wide / (wide.square().mean(-1, true) + kEps).sqrt() * weight.to(at::kDouble);
  if (rope == nullptr) return y;
  auto first = y.slice(1, 0, rope->cos.size(0));
  first.copy_(turned(first, *rope));
  return y;
}

// A norm of these weights, read from a checkpoint.
template <class Norm>
Norm norm_of(const Tensor& weight) {
  const auto dir = std::filesystem::temp_directory_path() / ("eav-qk-norm-" + std::to_string(weight.size(0)));
  std::filesystem::create_directories(dir);
  save_safetensors(dir / "model.safetensors", {{"weight", weight}});
  const auto checkpoint = Checkpoint::open(dir, "model", {});
  Norm norm(Weights(checkpoint), weight.size(0), kEps);
  std::filesystem::remove_all(dir);
  return norm;
}

Rope random_rope(int64_t tokens, int64_t d) {
  const auto angles = at::randn({tokens, d / 2}).repeat_interleave(2, 1);
  return {angles.cos(), angles.sin()};
}

class QkNormTest : public testing::TestWithParam<int64_t> {};

TEST_P(QkNormTest, IsItsFormula) {
  const auto d = GetParam();
  const auto weight = at::randn({d}) + 1;
  const auto norm = norm_of<QkNorm>(weight);
  const auto rope = random_rope(130, d);
  for (const auto* turns : {static_cast<const Rope*>(nullptr), &rope})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      const auto x = (3 * at::randn({2, 150, 3, d})).to(type);
      auto y = x.clone();
      norm(y, turns);
      const auto exact = expected(x, weight, turns);
      const auto rounding = exact.abs() * (type == at::kFloat ? 0 : 1.0 / 256);  // half of the last of 8 digits
      EXPECT_LT(((y.to(at::kDouble) - exact).abs() - rounding).max().item<double>(), 1e-5) << d;
    }
}

TEST(QkNormAcrossHeads, IsRoundedOnceInEveryType) {
  constexpr int64_t kHeads = 3, kSize = 24, kChannels = kHeads * kSize;
  const auto weight = at::randn({kChannels}) + 1;
  const auto norm = norm_of<QkNormAcrossHeads>(weight);
  const auto rope = random_rope(50, kSize);
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const auto x = (3 * at::randn({2, 50, kChannels})).to(type);
    auto y = x.clone();
    norm(y, &rope);
    const auto wide = x.to(at::kDouble);
    const auto normed = wide / (wide.square().mean(-1, true) + kEps).sqrt() * weight.to(at::kDouble);
    const auto exact = turned(normed.unflatten(2, {kHeads, kSize}), rope).flatten(2);
    const auto digits = type == at::kFloat ? 0 : type == at::kHalf ? 1.0 / 2048 : 1.0 / 256;  // half of the last one
    EXPECT_LT(((y.to(at::kDouble) - exact).abs() - digits * exact.abs()).max().item<double>(), 1e-5) << type;
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, QkNormTest, testing::Values(2, 6, 16, 24, 64, 128, 130));

}  // namespace
}  // namespace eav
