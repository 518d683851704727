// The kernel against float64 products of ATen.
#include "kernels/matmul.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "instruction_sets.h"
#include "kernels/gelu.h"

namespace eav {
namespace {
using at::Tensor;

double error(const Tensor& y, const Tensor& expected) {
  return ((y.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

class MatmulKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, MatmulKernel, on_every_instruction_set(), instruction_set_name);

// rows, in, out
constexpr int64_t kShapes[][3] = {{1, 1, 1},        {6, 8, 16},    {7, 385, 17}, {75, 768, 33},
                                  {150, 400, 1930}, {289, 64, 16}, {32, 1001, 8}};

TEST_P(MatmulKernel, EqualsFloat64) {
  for (const auto& [rows, in, out] : kShapes)
    for (const auto& [type, stored] :
         {std::pair(at::kFloat, Element::float32), {at::kBFloat16, Element::bfloat16}, {at::kHalf, Element::float16}}) {
      const auto x = at::randn({rows, in}), bias = at::randn({out});
      const auto weight = at::randn({out, in}).to(type);
      const auto product = at::mm(x.to(at::kDouble), weight.to(at::kDouble).t());
      auto y = at::full({rows, out}, std::nanf(""));
      Matmul task{.rows = rows,
                  .in = in,
                  .out = out,
                  .x = x.const_data_ptr<float>(),
                  .weight = weight.const_data_ptr(),
                  .stored = stored,
                  .bias = bias.const_data_ptr<float>(),
                  .y = y.mutable_data_ptr<float>(),
                  .y_stride = out,
                  .finish = nullptr};
      matmul(task);
      EXPECT_LT(error(y, product + bias.to(at::kDouble)), 2e-6) << type << ", " << y.sizes();

      task.bias = nullptr;
      task.finish = gelu_tanh_row;
      matmul(task);
      EXPECT_LT(error(y, at::gelu(product, "tanh")), 2e-6) << type << ", then GELU, " << y.sizes();
    }
}

TEST_P(MatmulKernel, LeavesAloneWhatLiesBetweenRows) {
  const auto x = at::randn({13, 40}), weight = at::randn({21, 40});
  auto y = at::full({13, 30}, 7.0f);
  matmul({.rows = 13,
          .in = 40,
          .out = 21,
          .x = x.const_data_ptr<float>(),
          .weight = weight.const_data_ptr(),
          .stored = Element::float32,
          .bias = nullptr,
          .y = y.mutable_data_ptr<float>(),
          .y_stride = 30,
          .finish = nullptr});
  EXPECT_LT(error(y.slice(1, 0, 21), at::mm(x.to(at::kDouble), weight.to(at::kDouble).t())), 2e-6);
  EXPECT_TRUE((y.slice(1, 21) == 7).all().item<bool>());
}

}  // namespace
}  // namespace eav
