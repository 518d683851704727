// Stored matrices, and the linear layers before them, against products in float64.
#include "weights/matrix.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "nn/linear.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr int64_t kRows = 24, kColumns = 40;

Tensor wide(const Tensor& x) { return x.to(at::kDouble); }

double error(const Tensor& found, const Tensor& expected) {
  return ((wide(found) - expected).abs().max() / expected.abs().max()).item<double>();
}

// "weight" and "bias" of three layers of kRows, stored as one, in the type of the parameter.
class MatrixTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    weight_ = at::randn({3 * kRows, kColumns}).to(GetParam());
    bias_ = at::randn({3 * kRows}).to(GetParam());
    dir_ = std::filesystem::temp_directory_path() / (std::string("eav-matrix-") + at::toString(GetParam()));
    std::filesystem::create_directories(dir_);
    save_safetensors(dir_ / "model.safetensors",
                     {{"weight", weight_}, {"bias", bias_}, {"patches.weight", weight_.view({-1, 10, 2, 2})}});
    checkpoint_.emplace(Checkpoint::open(dir_, "model", {GetParam(), at::kCPU}));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  Weights weights() const { return Weights(*checkpoint_); }

  Tensor weight_, bias_;
  std::filesystem::path dir_;
  std::optional<Checkpoint> checkpoint_;
};

TEST_P(MatrixTest, Multiplies) {
  const Matrix matrix(weights(), 3 * kRows, kColumns);
  EXPECT_EQ(matrix.rows(), 3 * kRows);
  EXPECT_EQ(matrix.columns(), kColumns);
  for (const int64_t n : {1, 31, 33, 100}) {
    const auto x = at::randn({n, kColumns});
    const auto longer = at::full({n, 3 * kRows + 5}, 7.0f), y = longer.slice(1, 2, 2 + 3 * kRows);
    const auto product = at::mm(wide(x), wide(weight_).t());

    matrix.multiply(x, std::nullopt, y);
    EXPECT_LT(error(y, product), 2e-6);
    matrix.multiply(x, bias_, y);
    EXPECT_LT(error(y, product + wide(bias_)), 2e-6);
    matrix.multiply(x, bias_, y, Matrix::Then::kGeluTanh);
    EXPECT_LT(error(y, at::gelu(product + wide(bias_), "tanh")), 2e-6);
    EXPECT_TRUE((longer.slice(1, 0, 2) == 7).all().item<bool>() && (longer.slice(1, -3) == 7).all().item<bool>());
  }
}

TEST_P(MatrixTest, PartsAreRows) {
  const auto part = Matrix(weights(), 3 * kRows, kColumns).row_slice(kRows, kRows);
  EXPECT_EQ(part.rows(), kRows);
  const auto x = at::randn({50, kColumns}), y = at::empty({50, kRows});
  part.multiply(x, std::nullopt, y);
  EXPECT_LT(error(y, at::mm(wide(x), wide(weight_).slice(0, kRows, 2 * kRows).t())), 2e-6);
}

TEST_P(MatrixTest, LooksUpRows) {
  const Matrix matrix(weights(), 3 * kRows, kColumns);
  const auto ids = at::tensor({5, 0, 71, 5}).view({2, 2});
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const auto rows = matrix.look_up(ids, type);  // [2, 2, columns]
    EXPECT_EQ(rows.sizes(), (std::vector<int64_t>{2, 2, kColumns}));
    EXPECT_TRUE(rows.equal(weight_.to(type).index({ids})));
    EXPECT_TRUE(matrix.row_slice(4, 9).dense(type).equal(weight_.slice(0, 4, 13).to(type)));
  }
}

TEST_P(MatrixTest, IsWhatALinearLayerMultiplies) {
  const auto x = at::randn({2, 20, kColumns});
  const auto all = at::matmul(wide(x), wide(weight_).t()) + wide(bias_);
  const Linear linear(weights(), kColumns, 3 * kRows);
  EXPECT_LT(error(linear(x), all), 2e-6);
  EXPECT_LT(error(linear.gelu_tanh(x), at::gelu(all, "tanh")), 2e-6);
  EXPECT_LT(error(linear(x.to(at::kBFloat16)), all), 2e-2);
  for (int64_t i = 0; i < 3; ++i)
    EXPECT_LT(error(Linear::of_several(weights(), kColumns, kRows, i, 3)(x), all.narrow(2, i * kRows, kRows)), 2e-6);
  const auto patches = Linear::of_patches(weights() / "patches", {3 * kRows, 10, 2, 2});
  EXPECT_EQ(patches.in_features(), kColumns);
  EXPECT_LT(error(patches(x), at::matmul(wide(x), wide(weight_).t())), 2e-6);
}

INSTANTIATE_TEST_SUITE_P(Types, MatrixTest, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

}  // namespace
}  // namespace eav
