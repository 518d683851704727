// The colours of latents against what they are fitted to, and means of frames against sums by hand.
#include "pipeline/preview.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace eav {
namespace {

TEST(LatentColors, ALinearDecoderIsRecovered) {
  const auto latents = at::randn({200, 5}, at::kFloat), map = at::randn({5, 3}, at::kFloat);
  const auto constant = at::randn({3}, at::kFloat);
  const auto found = LatentColors::fit(latents, latents.matmul(map) + constant).map();
  EXPECT_TRUE(at::allclose(found.slice(0, 0, 5), map, 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(found[5], constant, 1e-4, 1e-4));
}

TEST(LatentColors, AChannelThatNeverVariesIsNoTrouble) {
  auto latents = at::randn({50, 3}, at::kFloat);
  latents.select(1, 1).zero_();
  const auto found = LatentColors::fit(latents, latents.slice(1, 0, 1).expand({50, 3})).map();
  EXPECT_TRUE(at::allclose(found[0], at::ones({3}), 1e-4, 1e-4));
  EXPECT_TRUE(at::allclose(found[1], at::zeros({3}), 1e-4, 1e-4));
}

TEST(LatentColors, AreRoundedAndCut) {
  const LatentColors colors(at::tensor({1.0F, 0.0F, 0.0F, 0.0F, 0.5F, 2.0F}, at::kFloat).view({2, 3}));
  const auto shown = colors(at::full({1, 1, 2, 1, 4}, -1.0F));
  EXPECT_EQ(shown.sizes(), (at::IntArrayRef{2, 1, 4, 3}));
  EXPECT_TRUE(at::equal(shown[0][0][0], at::tensor({0, 128, 255}, at::kByte)));
}

TEST(Shrink, TheFirstLatentFrameStandsForWhatTheOthersLeave) {
  // Frames 0 to 8 and 0 to 7, each as bright as its number: 1, 4, 4 and, as of Open-Sora, 2, 3, 3.
  const auto video = [](int64_t count) {
    return at::arange(count, at::kFloat).view({1, 1, count, 1, 1}).expand({1, 3, count, 4, 2});
  };
  const auto means = [](const Tensor& shrunk) { return shrunk.select(3, 0).flatten(); };
  EXPECT_TRUE(at::allclose(means(shrink(video(9), {1, 7, 3, 2, 1})), at::tensor({0.0F, 0.0F, 2.5F, 2.5F, 6.5F, 6.5F})));
  EXPECT_TRUE(at::allclose(means(shrink(video(8), {1, 7, 3, 2, 1})), at::tensor({0.5F, 0.5F, 3.0F, 3.0F, 6.0F, 6.0F})));
}

}  // namespace
}  // namespace eav
