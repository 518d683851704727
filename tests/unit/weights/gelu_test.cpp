// The activation of tensors against ATen's.
#include "weights/gelu.h"

#include <gtest/gtest.h>

namespace eav {
namespace {

TEST(Gelu, TakesRowsThatAreParts) {
  const auto whole = at::randn({70, 1001});
  auto x = whole.clone();
  gelu_tanh_(x.slice(1, 3, 900));
  const auto expected = at::gelu(whole.to(at::kDouble), "tanh").slice(1, 3, 900);
  EXPECT_LT((x.slice(1, 3, 900).to(at::kDouble) - expected).abs().max().item<double>(), 1e-5);
  EXPECT_TRUE(at::equal(x.slice(1, 0, 3), whole.slice(1, 0, 3)));
  EXPECT_TRUE(at::equal(x.slice(1, 900), whole.slice(1, 900)));
}

TEST(Gelu, TakesOtherTypesAndStrides) {
  const auto x = at::randn({9, 33});
  const auto expected = at::gelu(x.to(at::kDouble), "tanh");
  auto wide = x.to(at::kDouble), turned = x.t().contiguous().t();
  gelu_tanh_(wide);
  gelu_tanh_(turned);
  EXPECT_TRUE(at::equal(wide, expected));
  EXPECT_LT((turned.to(at::kDouble) - expected).abs().max().item<double>(), 1e-5);
}

}  // namespace
}  // namespace eav
