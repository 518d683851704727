#include "weights/patches.h"

#include <gtest/gtest.h>

#include <vector>

namespace eav {
namespace {

// One of each form, of a matrix [6, 8], and rows of a larger change.
std::vector<Patch> examples() {
  const auto random = [](int64_t rows, int64_t columns) { return at::randn({rows, columns}); };
  const Factors product{random(6, 2), random(2, 8)}, other{random(6, 3), random(3, 8)};
  return {{.delta = {.first = product, .scale = 0.5}, .strength = 0.6, .rows = 6},
          {.delta = {.first = {random(6, 8).to(at::kBFloat16)}}, .strength = -1, .rows = 6},
          {.delta = {Delta::Form::hadamard, product, other, 2}, .rows = 6},
          {.delta = {Delta::Form::kronecker, {random(3, 2)}, {random(2, 1), random(1, 4)}, 0.25}, .rows = 6},
          {.delta = {.first = {random(12, 2), random(2, 8)}}, .begin = 5, .rows = 4, .at = 2},
          {.delta = {Delta::Form::kronecker, {random(3, 2)}, {random(4, 4)}}, .begin = 3, .rows = 6}};
}

TEST(Patches, AreTheSameMergedAndAsProducts) {
  at::manual_seed(1);
  const auto weight = at::randn({6, 8}), x = at::randn({5, 8});
  for (const auto& patch : examples()) {
    const auto merged = weight.clone();
    patch.add_to(merged);
    const auto y = x.mm(weight.t());
    add_products({patch}, x, y);
    EXPECT_FALSE(at::allclose(merged, weight));
    EXPECT_TRUE(at::allclose(y, x.mm(merged.t()), 1e-4, 1e-5));
  }
}

TEST(Patches, LeaveTheFilesTensorsAsTheyAre) {
  at::manual_seed(2);
  for (const auto& patch : examples()) {
    const auto left = patch.delta.first.left.clone();
    patch.add_to(at::zeros({6, 8}));
    patch.add_to(at::zeros({6, 8}));
    EXPECT_TRUE(at::equal(left, patch.delta.first.left));
  }
}

// Channels that a model takes beside those of the latents come last, and keep their weights.
TEST(Patches, OfFewerChannelsAreOfTheFirst) {
  const auto weight = at::zeros({6, 5, 1, 2, 2});
  Patch{.delta = {.first = {at::ones({6, 1}), at::ones({1, 12})}}, .rows = 6}.add_to(weight);
  EXPECT_TRUE(at::equal(weight.narrow(1, 0, 3), at::ones({6, 3, 1, 2, 2})));
  EXPECT_TRUE(at::equal(weight.narrow(1, 3, 2), at::zeros({6, 2, 1, 2, 2})));
}

}  // namespace
}  // namespace eav
