// Matrices that `--quantize int8` holds, with the products that this CPU has or, under ONEDNN_MAX_CPU_ISA, others have.
#include "weights/int8.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/int8.h"
#include "nn/linear.h"
#include "weights/patches.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr int64_t kIn = 1920, kOut = 200;

Tensor in_double(const Tensor& x) { return x.to(at::kDouble); }

// Signal to error, in decibels.
double decibels(const Tensor& found, const Tensor& expected) {
  return 20 * std::log10((expected.norm() / (in_double(found) - expected).norm()).item<double>());
}

class Int8Stored : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    at::manual_seed(1);
    weight_ = (at::randn({kOut, kIn}) / std::sqrt(kIn)).to(GetParam());
    bias_ = at::randn({kOut}).to(GetParam());
    dir_ = std::filesystem::temp_directory_path() / ("eav-int8-" + std::to_string(getpid()) + at::toString(GetParam()));
    std::filesystem::create_directories(dir_);
    save_safetensors(dir_ / "model.safetensors", {{"weight", weight_}, {"bias", bias_}});
    checkpoint_.emplace(Checkpoint::open(dir_, "model", {.quantize = Quantize::int8}));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  Weights blocks() const { return Weights(*checkpoint_).quantised(); }
  Tensor expected(const Tensor& x) const { return at::matmul(in_double(x), in_double(weight_).t()) + in_double(bias_); }

  Tensor weight_, bias_;
  std::filesystem::path dir_;
  std::optional<Checkpoint> checkpoint_;
};
INSTANTIATE_TEST_SUITE_P(Types, Int8Stored, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

TEST_P(Int8Stored, TakesAByteANumber) {
  const Matrix matrix(blocks(), kOut, kIn);
  const auto held = checkpoint_->held().at("weight");
  EXPECT_GE(held, kOut * kIn);
  EXPECT_LE(held, kOut * kIn * 11 / 10);
  EXPECT_EQ(matrix.rows(), kOut);
  EXPECT_EQ(matrix.columns(), kIn);
  EXPECT_GT(decibels(matrix.dense(at::kFloat), in_double(weight_)), 38);
  // Tables and what stands beside the blocks are not quantised.
  EXPECT_TRUE(Matrix(Weights(*checkpoint_), kOut, kIn).dense(at::kFloat).equal(weight_.to(at::kFloat)));
  EXPECT_TRUE(
      Matrix(blocks().quantised(Weights::Rounding::none), kOut, kIn).dense(at::kFloat).equal(weight_.to(at::kFloat)));
}

TEST_P(Int8Stored, WeightsMayBeRoundedAlone) {
  const Linear linear(blocks().quantised(Weights::Rounding::weights), kIn, kOut);
  EXPECT_EQ(checkpoint_->held().at("weight"), kOut * kIn / 32 * 34);
  const auto x = at::randn({1, kIn});
  EXPECT_GT(decibels(linear(x), expected(x)), 43);
}

TEST_P(Int8Stored, MultipliesNearlyAsItsNumbersDo) {
  const Linear linear(blocks(), kIn, kOut);
  for (const int64_t rows : {1, 5, 300})
    for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const auto x = at::randn({2, rows, kIn}).to(type);
      EXPECT_GT(decibels(linear(x), expected(x)), 38) << rows << type;
      EXPECT_GT(decibels(linear.gelu_tanh(x), at::gelu(expected(x), "tanh")), 38) << rows << type;
    }
}

// Rounded as they are, rows with such channels would give some 22 dB.
TEST_P(Int8Stored, ChannelsThatStandOutCostLittle) {
  auto x = at::randn({300, kIn});
  x.slice(1, 7, kIn, 101).mul_(30);
  EXPECT_GT(decibels(Linear(blocks(), kIn, kOut)(x), expected(x)), 37);
}

TEST_P(Int8Stored, PartsAreRows) {
  const auto x = at::randn({50, kIn});
  const Matrix whole(blocks(), kOut, kIn);
  const auto y = at::empty({50, kOut}), part = at::empty({50, 70});
  whole.multiply(x, std::nullopt, y);
  whole.row_slice(100, 70).multiply(x, std::nullopt, part);
  EXPECT_TRUE(at::allclose(part, y.slice(1, 100, 170), 1e-5, 1e-5));
  const auto second = Linear::of_several(blocks(), kIn, kOut / 2, 1, 2)(x);
  EXPECT_GT(decibels(second, expected(x).slice(1, kOut / 2)), 38);
}

TEST_P(Int8Stored, HoldsWhatALoraAdds) {
  const auto patches = std::make_shared<Patches>();
  const Factors factors{at::randn({kOut, 4}) / 10, at::randn({4, kIn}) / 10};
  patches->add("weight", {.delta = {.first = factors}, .strength = 0.5, .rows = kOut});
  const auto changed = checkpoint_->with({.patches = patches, .quantize = Quantize::int8});
  const auto sum = in_double(weight_) + 0.5 * in_double(factors.left.mm(factors.right));
  EXPECT_GT(decibels(Matrix(Weights(changed).quantised(), kOut, kIn).dense(at::kFloat), sum), 38);
}

TEST_P(Int8Stored, IsPlannedWithoutData) {
  const auto planned = checkpoint_->with({.device = at::kMeta, .quantize = Quantize::int8});
  const Linear linear(Weights(planned).quantised(), kIn, kOut);
  EXPECT_EQ(linear(at::empty({3, kIn}, at::kMeta)).sizes(), (std::vector<int64_t>{3, kOut}));
  const Matrix matrix(blocks(), kOut, kIn);
  EXPECT_EQ(planned.held().at("weight"), checkpoint_->held().at("weight"));
}

// Sums of 7,680 products of the largest numbers: where the library's are wrong, others are taken.
TEST(Int8Path, IsExactForTheLargestNumbers) {
  constexpr int64_t in = 7680;
#if defined(__x86_64__)
  const auto* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (most == nullptr || std::string(most) == "AVX512_CORE_VNNI") {
    EXPECT_EQ(int8_kernel_works(), __builtin_cpu_supports("avx512vnni") != 0);
  }
#endif
  for (const float value : {3.0f, -3.0f}) {
    const auto numbers = [&](int64_t, int64_t count) { return at::full({count, in}, value); };
    const auto packed = quantized_to_int8(20, in, numbers);
    EXPECT_TRUE(packed.bytes.view(at::kChar).abs().eq(127).all().item<bool>());
    if (!int8_is_fast()) continue;
    const auto y = at::empty({3, 20});
    for (const float x : {2.0f, -2.0f}) {
      multiply(in_tiles(packed), at::full({3, in}, x), std::nullopt, y, false);
      EXPECT_TRUE(at::allclose(y, at::full_like(y, in * x * value), 1e-5)) << y[0][0] << x << value;
    }
  }
}

}  // namespace
}  // namespace eav
