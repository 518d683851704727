// The norm and rotation of a token's heads against their formulas in float64.
#include "kernels/qk_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <utility>

#include "instruction_sets.h"

namespace eav {
namespace {

constexpr double kEps = 1e-6;

class QkNormKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, QkNormKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(QkNormKernel, IsItsFormula) {
  for (const int64_t d : {2, 4, 6, 8, 14, 16, 24, 30, 34, 64, 128, 130})
    for (const auto& [turns, type] :
         {std::pair{false, at::kFloat}, {true, at::kFloat}, {false, at::kBFloat16}, {true, at::kBFloat16}}) {
      const auto x = (3 * at::randn({5, d})).to(type), weight = at::randn({d}) + 1, angles = at::randn({d / 2});
      const auto cos = angles.repeat_interleave(2).cos(), sin = angles.repeat_interleave(2).sin();
      auto y = x.clone();
      norm_and_rotate(
          y.mutable_data_ptr(), *element_of(type), 5, d, weight.const_data_ptr<float>(), kEps,
          {turns ? cos.const_data_ptr<float>() : nullptr, turns ? sin.const_data_ptr<float>() : nullptr, d});

      const auto wide = x.to(at::kDouble);
      auto expected = wide / (wide.square().mean(-1, true) + kEps).sqrt() * weight.to(at::kDouble);
      if (turns) {
        const auto even = expected.slice(1, 0, d, 2), odd = expected.slice(1, 1, d, 2);  // [5, d/2]
        const auto c = angles.to(at::kDouble).cos(), s = angles.to(at::kDouble).sin();
        expected = at::stack({even * c - odd * s, odd * c + even * s}, -1).flatten(1);
      }
      const auto error = (y.to(at::kDouble) - expected).abs();
      const auto rounding = expected.abs() * (type == at::kFloat ? 0 : 1.0 / 256);  // half of the last of 8 digits
      EXPECT_LT((error - rounding).max().item<double>(), 1e-5) << d << " " << turns << " " << type;
    }
}

// All heads of a token normed together, each turned by the same angles.
TEST_P(QkNormKernel, TurnsParts) {
  for (const int64_t d : {2, 6, 12, 16, 128}) {
    const auto x = 3 * at::randn({3 * d}), weight = at::randn({3 * d}) + 1, angles = at::randn({d / 2});
    const auto cos = angles.repeat_interleave(2).cos(), sin = angles.repeat_interleave(2).sin();
    auto y = x.clone();
    norm_and_rotate(y.mutable_data_ptr(), Element::float32, 1, 3 * d, weight.const_data_ptr<float>(), kEps,
                    {cos.const_data_ptr<float>(), sin.const_data_ptr<float>(), d});

    const auto wide = x.to(at::kDouble);
    const auto normed = (wide / (wide.square().mean() + kEps).sqrt() * weight.to(at::kDouble)).view({3, d});
    const auto even = normed.slice(1, 0, d, 2), odd = normed.slice(1, 1, d, 2);  // [3, d/2]
    const auto c = angles.to(at::kDouble).cos(), s = angles.to(at::kDouble).sin();
    const auto expected = at::stack({even * c - odd * s, odd * c + even * s}, -1).flatten();
    EXPECT_LT((y.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5) << d;
  }
}

TEST_P(QkNormKernel, OfZerosIsZero) {
  const auto weight = at::ones({24});
  auto y = at::zeros({2, 24});
  norm_and_rotate(y.mutable_data_ptr(), Element::float32, 2, 24, weight.const_data_ptr<float>(), kEps,
                  {nullptr, nullptr, 24});
  EXPECT_TRUE(at::equal(y, at::zeros({2, 24})));
}

}  // namespace
}  // namespace eav
