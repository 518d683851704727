// The kernel against the formula in float64.
#include "nn/gelu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

namespace eav {
namespace {

TEST(Gelu, EqualsTheFormula) {
  for (const int64_t count : {1, 7, 8, 1000, 40001}) {
    auto x = at::cat({at::linspace(-30, 30, count), at::randn({count})}).slice(0, 0, count);
    const auto wide = x.to(at::kDouble);
    const auto expected = wide * (1 + at::tanh(std::sqrt(2 / std::numbers::pi) * (wide + 0.044715 * wide.pow(3)))) / 2;
    gelu_tanh_(x.unsqueeze(0));
    EXPECT_LT((x.to(at::kDouble) - expected).abs().max().item<double>(), 4e-6 * 30) << count;
    // Relative, where the value is not itself the small difference of larger ones.
    const auto large = expected.abs() > 1e-2;
    if (large.any().item<bool>()) {
      const auto relative = ((x.to(at::kDouble) - expected) / expected).abs().masked_select(large);
      EXPECT_LT(relative.max().item<double>(), 1e-5) << count;
    }
  }
}

TEST(Gelu, PassesOnWhatIsNoNumber) {
  auto x = at::tensor({std::nanf(""), std::numeric_limits<float>::infinity(), -200.0f, 200.0f, 1e30f, -1e30f});
  gelu_tanh_(x.unsqueeze(0));
  EXPECT_TRUE(std::isnan(x[0].item<float>()));
  EXPECT_TRUE(std::isinf(x[1].item<float>()));
  EXPECT_NEAR(x[2].item<float>(), 0, 1e-30);
  EXPECT_EQ(x[3].item<float>(), 200.0f);
  EXPECT_EQ(x[4].item<float>(), 1e30f);
  EXPECT_NEAR(x[5].item<float>(), 0, 1e-7);
}

}  // namespace
}  // namespace eav
