// The norm and rotation of queries and keys against their formulas in double precision.
#include "nn/qk_norm.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr double kEps = 1e-6;

// x / sqrt(mean(x^2) + eps) * weight, then each pair (even, odd) of the first tokens turned by its angle.
Tensor expected(const Tensor& x, const Tensor& weight, const Rope* rope) {
  const auto wide = x.to(at::kDouble);
  auto y = wide / (wide.square().mean(-1, true) + kEps).sqrt() * weight.to(at::kDouble);
  if (rope == nullptr) return y;
  auto turned = y.slice(1, 0, rope->cos.size(0));
  const auto pairs = turned.unflatten(-1, {-1, 2}).clone();  // [B, tokens, heads, d/2, 2]
  const auto even = pairs.select(-1, 0), odd = pairs.select(-1, 1);
  const auto angle = [](const Tensor& t) { return t.slice(1, 0, t.size(1), 2).to(at::kDouble).unsqueeze(1); };
  const auto c = angle(rope->cos), s = angle(rope->sin);
  turned.copy_(at::stack({even * c - odd * s, odd * c + even * s}, -1).flatten(-2));
  return y;
}

class QkNormTest : public testing::TestWithParam<int64_t> {};

TEST_P(QkNormTest, IsItsFormula) {
  const auto d = GetParam();
  const auto dir = std::filesystem::temp_directory_path() / ("eav-qk-norm-" + std::to_string(d));
  std::filesystem::create_directories(dir);
  const auto weight = at::randn({d}) + 1;
  save_safetensors(dir / "model.safetensors", {{"weight", weight}});
  const auto checkpoint = Checkpoint::open(dir, "model", {});
  const QkNorm norm(Weights(checkpoint), d, kEps);
  std::filesystem::remove_all(dir);

  const auto angles = at::randn({130, d / 2}).repeat_interleave(2, 1);
  const Rope rope{angles.cos(), angles.sin()};
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

INSTANTIATE_TEST_SUITE_P(Sizes, QkNormTest, testing::Values(2, 6, 16, 24, 64, 128, 130));

}  // namespace
}  // namespace eav
