// The kernel against the formula in float64.
#include "kernels/gelu.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <numbers>

#include "instruction_sets.h"

namespace eav {
namespace {

class GeluKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, GeluKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(GeluKernel, EqualsTheFormula) {
  for (const int64_t count : {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 1000, 40001}) {
    // One element more than the kernel is told of, which it leaves alone.
    const auto before = at::cat({at::linspace(-30, 30, count), at::randn({count})}).slice(0, 0, count + 1);
    auto x = before.clone();
    gelu_tanh_row(x.mutable_data_ptr<float>(), count);
    EXPECT_EQ(x[count].item<float>(), before[count].item<float>()) << count;

    const auto found = x.slice(0, 0, count).to(at::kDouble), wide = before.slice(0, 0, count).to(at::kDouble);
    const auto expected = wide * (1 + at::tanh(std::sqrt(2 / std::numbers::pi) * (wide + 0.044715 * wide.pow(3)))) / 2;
    EXPECT_LT((found - expected).abs().max().item<double>(), 4e-6 * 30) << count;
    // Relative, where the value is not itself the small difference of larger ones.
    const auto large = expected.abs() > 1e-2;
    if (large.any().item<bool>()) {
      const auto relative = ((found - expected) / expected).abs().masked_select(large);
      EXPECT_LT(relative.max().item<double>(), 1e-5) << count;
    }
  }
}

TEST_P(GeluKernel, PassesOnWhatIsNoNumber) {
  float x[] = {std::nanf(""), std::numeric_limits<float>::infinity(), -200.0f, 200.0f, 1e30f, -1e30f};
  gelu_tanh_row(x, 6);
  EXPECT_TRUE(std::isnan(x[0]));
  EXPECT_TRUE(std::isinf(x[1]));
  EXPECT_NEAR(x[2], 0, 1e-30);
  EXPECT_EQ(x[3], 200.0f);
  EXPECT_EQ(x[4], 1e30f);
  EXPECT_NEAR(x[5], 0, 1e-7);
}

}  // namespace
}  // namespace eav
