// The group norm's two passes over memory against their formulas in float64.
#include "kernels/group_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "instruction_sets.h"

namespace eav {
namespace {

class GroupNormKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, GroupNormKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(GroupNormKernel, AddsMoments) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t channels : {1, 3, 4, 7, 8, 16, 19, 33, 128})
      for (const auto& [begin, end] : {std::pair(0, 1), {5, 5}, {3, 66}, {0, 64}, {7, 300}}) {
        // Far from zero: without the origin, squares in float32 would lose the digits that the variance is made of.
        const auto x = (at::randn({300, channels}) + 1000).to(type), origin = x[0].clone();
        auto sum = at::full({channels}, 5, at::kDouble), square_sum = at::full({channels}, 6, at::kDouble);
        add_moments(x.const_data_ptr(), origin.const_data_ptr(), *element_of(type), channels, begin, end,
                    sum.mutable_data_ptr<double>(), square_sum.mutable_data_ptr<double>());
        const auto differences = x.slice(0, begin, end).to(at::kDouble) - origin.to(at::kDouble);
        const auto squares = differences.square().sum(0);
        EXPECT_LT((sum - 5 - differences.sum(0)).abs().max().item<double>(), 1e-3) << channels << " " << end;
        EXPECT_TRUE(at::allclose(square_sum - 6, squares, 1e-5, 1e-9)) << channels << " " << end;
      }
}

TEST_P(GroupNormKernel, ModulatesAndActivates) {
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const int64_t channels : {1, 3, 4, 7, 8, 16, 19, 33, 128})
      for (const auto& [tall, wide] : {std::pair<int64_t, int64_t>(1, 1), {2, 3}, {6, 12}}) {
        const auto x = (5 * at::randn({6, 12, channels})).to(type);
        const auto scale = at::randn({6 / tall, 12 / wide, channels}),
                   shift = at::randn({6 / tall, 12 / wide, channels});
        auto out = at::full({6, 12, channels}, 7.0f).to(type);
        const ModulateSilu task{.width = 12,
                                .channels = channels,
                                .tall = tall,
                                .wide = wide,
                                .element = *element_of(type),
                                .x = x.const_data_ptr(),
                                .scale = scale.const_data_ptr<float>(),
                                .shift = shift.const_data_ptr<float>(),
                                .out = out.mutable_data_ptr()};
        modulate_silu(task, 1, 5);
        const auto spread = [&](const at::Tensor& t) {
          return t.to(at::kDouble).repeat_interleave(tall, 0).repeat_interleave(wide, 1);
        };
        const auto modulated = x.to(at::kDouble) * spread(scale) + spread(shift);
        const auto expected = modulated / (1 + at::exp(-modulated));
        const auto error = (out.to(at::kDouble) - expected).slice(0, 1, 5).abs() / (1 + expected.slice(0, 1, 5).abs());
        EXPECT_LT(error.max().item<double>(), type == at::kFloat ? 2e-6 : 4e-3) << channels << " " << tall;
        EXPECT_TRUE((out[0] == 7).all().item<bool>() && (out[5] == 7).all().item<bool>())
            << "rows that were not asked for";
      }
}

TEST_P(GroupNormKernel, ActivatesLargeNumbers) {
  const auto large = at::logspace(0, 6, 997);  // 1 to 1,000,000
  const auto x = at::cat({-large, large}), scale = at::ones_like(x), shift = at::zeros_like(x);
  auto out = at::empty_like(x);
  modulate_silu({.width = 1,
                 .channels = x.numel(),
                 .tall = 1,
                 .wide = 1,
                 .element = Element::float32,
                 .x = x.const_data_ptr(),
                 .scale = scale.const_data_ptr<float>(),
                 .shift = shift.const_data_ptr<float>(),
                 .out = out.mutable_data_ptr()},
                0, 1);
  const auto wide = x.to(at::kDouble);
  EXPECT_TRUE(at::allclose(out.to(at::kDouble), wide / (1 + at::exp(-wide)), 1e-6, 1e-20))
      << (out.to(at::kDouble) - wide / (1 + at::exp(-wide))).abs().max();
}

}  // namespace
}  // namespace eav
