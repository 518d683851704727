// The kernel against float64 products of ATen, at every instruction set of this machine.
#include "nn/linear.h"

#include <gtest/gtest.h>
#include <hwy/targets.h>

#include "nn/gelu.h"
#include "nn/matmul.h"

namespace eav {
namespace {

struct Shape {
  int64_t rows, in, out;
};

// 0 stands for what the CPU has.
void use_target(int64_t target) {
  hwy::SetSupportedTargetsForTest(target);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

double error(const Tensor& y, const Tensor& expected) {
  return ((y.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

class Product : public testing::TestWithParam<Shape> {};

TEST_P(Product, EqualsFloat64) {
  const auto [rows, in, out] = GetParam();
  const auto x = at::randn({rows, in}), bias = at::randn({out});
  for (const auto& [type, stored] : {std::pair(at::kFloat, Matmul::Stored::float32),
                                     {at::kBFloat16, Matmul::Stored::bfloat16},
                                     {at::kHalf, Matmul::Stored::float16}}) {
    const auto weight = at::randn({out, in}).to(type);
    const auto expected = at::addmm(bias.to(at::kDouble), x.to(at::kDouble), weight.to(at::kDouble).t());
    Matmul product{.rows = rows,
                   .in = in,
                   .out = out,
                   .x = x.const_data_ptr<float>(),
                   .weight = weight.const_data_ptr(),
                   .stored = stored,
                   .bias = bias.const_data_ptr<float>(),
                   .y = nullptr,
                   .y_stride = out,
                   .finish = nullptr};
    for (int64_t targets = hwy::SupportedTargets() & HWY_TARGETS; targets != 0; targets &= targets - 1) {
      use_target(targets & -targets);
      auto y = at::full({rows, out}, std::nanf(""));
      product.y = y.mutable_data_ptr<float>();
      matmul(product);
      EXPECT_LT(error(y, expected), 2e-6) << type << " with " << hwy::TargetName(targets & -targets);

      product.bias = nullptr;
      product.finish = gelu_tanh_row;
      matmul(product);
      EXPECT_LT(error(y, at::gelu(expected - bias.to(at::kDouble), "tanh")), 2e-6) << type << ", then GELU";
      product.bias = bias.const_data_ptr<float>();
      product.finish = nullptr;
      use_target(0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Product,
                         testing::Values(Shape{1, 1, 1}, Shape{6, 8, 16}, Shape{7, 385, 17}, Shape{75, 768, 33},
                                         Shape{150, 400, 1930}, Shape{289, 64, 16}, Shape{32, 1001, 8}));

}  // namespace
}  // namespace eav
