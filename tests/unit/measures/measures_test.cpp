// Videos whose measures are known by a formula.
#include "eav/measures.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "eav/error.h"

namespace {

using at::Tensor;
using eav::measure;

constexpr int64_t kHeight = 96, kWidth = 128;

// Smooth texture, `shift` pixels further right in every frame: grey, uint8.
Tensor drifting(int64_t frames, double shift) {
  const auto y = at::arange(kHeight, at::kDouble).view({1, kHeight, 1});
  const auto x = at::arange(kWidth, at::kDouble).view({1, 1, kWidth}) -
                 at::arange(frames, at::kDouble).view({frames, 1, 1}) * shift;
  const auto wave = [](const Tensor& phase, double period) { return (phase * (2 * std::numbers::pi / period)).sin(); };
  const auto grey = 128 + 30 * wave(x + 0.4 * y, 31) + 30 * wave(x - 0.7 * y, 23) + 30 * wave(0.3 * x + y, 27);
  return grey.round().to(at::kByte).unsqueeze(3).expand({frames, kHeight, kWidth, 3}).contiguous();
}

Tensor still(int64_t frames) { return drifting(1, 0).expand({frames, -1, -1, -1}).contiguous(); }

Tensor noise(at::IntArrayRef shape, double sigma) {
  return at::randn(shape, at::detail::createCPUGenerator(3), at::TensorOptions(at::kDouble)) * sigma;
}

// Frames of whole waves along x, which go on when they are mirrored at both ends, as filters do it.
Tensor waves(double amplitude, double period) {
  constexpr int64_t kColumns = kWidth + 1;
  const auto x = at::arange(kColumns, at::kDouble) * (2 * std::numbers::pi / period);
  return (128 + amplitude * x.cos()).view({1, 1, kColumns, 1}).expand({2, kHeight, kColumns, 3}).round().to(at::kByte);
}

class Measures : public testing::Test {
 protected:
  void SetUp() override {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "optical flow cannot be computed with the address sanitizer: see motion.cpp";
#endif
  }
};

TEST_F(Measures, AStillClipDoesNotChange) {
  const auto m = measure(still(4));
  EXPECT_EQ(m.temporal_flickering, 1);
  EXPECT_EQ(m.warping_error, 0);
  EXPECT_FALSE(m.warping_error_to_motion);
  EXPECT_EQ(m.dynamic_degree, 0);
  EXPECT_NEAR(m.temporal_ssim, 1, 1e-12);
  EXPECT_NEAR(m.subject_drift, 0, 1e-7);
}

TEST_F(Measures, AShiftedPatternMovesAsFarAsItWasShifted) {
  for (const double shift : {1.0, 3.0}) {
    const auto m = measure(drifting(4, shift));
    EXPECT_NEAR(m.dynamic_degree, shift, 0.1 * shift);
    EXPECT_LT(m.warping_error, 1e-4);  // it is the same pattern
    ASSERT_TRUE(m.warping_error_to_motion);
    EXPECT_NEAR(*m.warping_error_to_motion * shift, m.warping_error, 0.1 * m.warping_error);
    EXPECT_LT(m.temporal_ssim, 0.99);
    EXPECT_LT(m.subject_drift, 0.05);  // colours stay
  }
}

TEST_F(Measures, FlickeringIsTheMeanDifference) {
  auto frames = still(3).clone();
  frames[1].add_(7);
  EXPECT_NEAR(measure(frames).temporal_flickering, 1 - 7.0 / 255, 1e-12);
}

TEST_F(Measures, AddedNoiseIsFound) {
  for (const double sigma : {3.0, 8.0}) {
    const auto grey = at::full({2, kHeight, kWidth, 1}, 128, at::kDouble) + noise({2, kHeight, kWidth, 1}, sigma);
    const auto frames = grey.expand({2, kHeight, kWidth, 3}).round().to(at::kByte);
    const double rounded = std::sqrt(sigma * sigma + 1.0 / 12);
    EXPECT_NEAR(measure(frames).noise, rounded, 0.03 * rounded);
    // The variance of a Laplacian of independent values is 4^2 + 4 * 1 times theirs, a Sobel gradient's 2 * 12.
    EXPECT_NEAR(measure(frames).laplacian_variance, 20 * rounded * rounded, 0.05 * 20 * rounded * rounded);
    EXPECT_NEAR(measure(frames).tenengrad, 24 * rounded * rounded, 0.05 * 24 * rounded * rounded);
    const auto clean = at::full({2, kHeight, kWidth, 3}, 128, at::kByte);
    EXPECT_NEAR(eav::fidelity(frames, clean).psnr, 20 * std::log10(255 / rounded), 0.2);
  }
}

TEST_F(Measures, ContrastAndSharpnessOfWavesFollowTheirFormula) {
  const double period = 16, amplitude = 100, step = 2 * std::numbers::pi / period;
  const auto sharp = measure(waves(amplitude, period));
  EXPECT_NEAR(sharp.contrast, amplitude / std::sqrt(2) / 255, 1e-3);
  // The Laplacian of a wave is 2 cos(step) - 2 times it; Sobel's is 8 sin(step) times its cosine.
  const double laplacian = std::pow(amplitude * (2 - 2 * std::cos(step)), 2) / 2;
  EXPECT_NEAR(sharp.laplacian_variance, laplacian, 0.05 * laplacian);
  const double gradient = std::pow(8 * amplitude * std::sin(step), 2) / 2;
  EXPECT_NEAR(sharp.tenengrad, gradient, 0.05 * gradient);
  // A blur of (1 2 1) / 4 takes the amplitude down to (1 + cos(step)) / 2 of it.
  const double kept = (1 + std::cos(step)) / 2;
  const auto blurred = measure(waves(amplitude * kept * kept, period));  // twice
  EXPECT_NEAR(blurred.laplacian_variance / sharp.laplacian_variance, std::pow(kept, 4), 0.05);
}

TEST_F(Measures, ColourfulnessOfTwoColours) {
  auto frames = at::zeros({2, kHeight, kWidth, 3}, at::kByte);
  frames.slice(2, 0, kWidth / 2).select(3, 0).fill_(200);  // red
  frames.slice(2, kWidth / 2).select(3, 2).fill_(200);     // blue
  // rg is 200 and 0, yb is 100 and -200, in equal parts.
  const double expected = std::hypot(100, 150) + 0.3 * std::hypot(100, 50);
  EXPECT_NEAR(measure(frames).colourfulness, expected, 1e-3);
  auto grey = at::full({2, kHeight, kWidth, 3}, 90, at::kByte);
  EXPECT_EQ(measure(grey).colourfulness, 0);
}

TEST_F(Measures, ColoursThatChangeWhollyAreFarApart) {
  auto frames = at::zeros({3, kHeight, kWidth, 3}, at::kByte);
  frames[0].select(2, 0).fill_(255);
  frames[1].select(2, 0).fill_(255);
  frames[2].select(2, 1).fill_(255);
  EXPECT_NEAR(measure(frames).subject_drift, 0.5, 1e-6);  // the mean of 0 and 1
}

TEST_F(Measures, EqualVideosAreEqual) {
  const auto same = eav::fidelity(still(2), still(2));
  EXPECT_TRUE(std::isinf(same.psnr));
  EXPECT_NEAR(same.ssim, 1, 1e-12);
}

TEST_F(Measures, RefusesWhatHasNoNeighboursOrAnotherSize) {
  EXPECT_THROW(measure(still(1)), eav::Error);
  EXPECT_THROW(measure(at::zeros({2, 8, 64, 3}, at::kByte)), eav::Error);
  EXPECT_THROW(eav::fidelity(still(2), still(3)), eav::Error);
}

}  // namespace
