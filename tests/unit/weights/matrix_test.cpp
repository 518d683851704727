// Stored matrices, and the linear layers before them, against products in float64.
#include "weights/matrix.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "kernels/quantize.h"
#include "nn/linear.h"
#include "weights/safetensors.h"
#include "weights/tensor_writer.h"

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

// A large one of 16 bits is widened in tiles where float32 is computed; 1,100 rows of 4,096 are two of them.
TEST(LargeMatrix, StaysAsItIsStored) {
  const auto dir = std::filesystem::temp_directory_path() / "eav-large-matrix";
  std::filesystem::create_directories(dir);
  const auto weight = at::randn({1100, 4096}).to(at::kBFloat16), bias = at::randn({1100});
  save_safetensors(dir / "model.safetensors",
                   {{"weight", weight}, {"bias", bias}, {"small.weight", weight.slice(0, 0, 8).contiguous()}});
  const auto checkpoint = Checkpoint::open(dir, "model", {});
  EXPECT_EQ(checkpoint.matrix_type("weight"), at::kBFloat16);
  EXPECT_EQ(checkpoint.matrix_type("small.weight"), at::kFloat);
  EXPECT_EQ(Checkpoint::open(dir, "model", {.dtype = at::kHalf}).matrix_type("weight"), at::kHalf);
  EXPECT_EQ(checkpoint.load("weight").scalar_type(), at::kFloat);
  const Linear linear(Weights(checkpoint), 4096, 1100);
  for (const int64_t n : {1, 40}) {
    const auto x = at::randn({n, 4096});
    EXPECT_LT(error(linear(x), at::mm(wide(x), wide(weight).t()) + wide(bias)), 2e-6);
  }
  std::filesystem::remove_all(dir);
}

INSTANTIATE_TEST_SUITE_P(Types, MatrixTest, testing::Values(at::kFloat, at::kBFloat16, at::kHalf));

// A matrix that its file packs, against the numbers that it stands for.
class PackedMatrix : public testing::TestWithParam<Packing> {
 protected:
  static constexpr int64_t kOut = 96, kIn = 512;

  void SetUp() override {
    std::filesystem::create_directories(dir_);
    const auto& layout = layout_of(GetParam());
    const bool blocks = layout.elements > 1;
    const auto weight = at::randn({kOut, kIn});
    std::vector<OutgoingTensor> tensors;
    const auto add = [&](const std::string& key, const Tensor& tensor, TensorEntry entry) {
      entry.shape = tensor.sizes().vec();
      if (entry.blocks) entry.shape.back() = kIn;
      tensors.push_back({key, entry, [tensor](const OutgoingTensor::Sink& write) {
                           write({static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()});
                         }});
    };
    if (blocks) {
      auto bytes = at::empty({kOut, kIn / layout.elements * layout.bytes}, at::kByte);
      quantize(GetParam(), weight.const_data_ptr<float>(), weight.numel() / layout.elements,
               bytes.mutable_data_ptr<uint8_t>());
      add("weight", bytes, {at::kByte, {}, 0, 0, GetParam()});
      numbers_ = dequantized({bytes, GetParam()}, at::kFloat);
    } else {
      const auto stored = weight.to(GetParam() == Packing::float8_e5m2 ? at::kFloat8_e5m2 : at::kFloat8_e4m3fn);
      add("weight", stored, {stored.scalar_type(), {}, 0, 0});
      add("scale_weight", at::full({1}, 0.5f), {at::kFloat, {}, 0, 0});
      add("scale_input", at::full({1}, 3.0f), {at::kFloat, {}, 0, 0});
      add("scaled_fp8", at::zeros({2}), {at::kFloat, {}, 0, 0});
      numbers_ = stored.to(at::kFloat) * 0.5f;
    }
    bias_ = at::randn({kOut});
    add("bias", bias_, {at::kFloat, {}, 0, 0});
    file_ = dir_ / (blocks ? "model.gguf" : "model.safetensors");
    write_tensors(file_, tensors, "test", {}).finish();
    checkpoint_.emplace(Checkpoint::open(dir_, "model", {at::kFloat, at::kCPU}));
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::filesystem::path dir_ =
      std::filesystem::temp_directory_path() / ("eav-packed-" + std::to_string(static_cast<int>(GetParam())));
  std::filesystem::path file_;
  std::optional<Checkpoint> checkpoint_;
  Tensor numbers_, bias_;
};

TEST_P(PackedMatrix, MultipliesAsItsNumbersDo) {
  const Linear linear(Weights(*checkpoint_), kIn, kOut);
  EXPECT_EQ(checkpoint_->check_all_read(), "");
  for (const int64_t n : {1, 50}) {
    const auto x = at::randn({n, kIn});
    const auto product = at::addmm(wide(bias_), wide(x), wide(numbers_).t());
    EXPECT_LT(error(linear(x), product), 2e-6);
    EXPECT_LT(error(linear.gelu_tanh(x), at::gelu(product, "tanh")), 2e-6);
    EXPECT_LT(error(linear(x.to(at::kBFloat16)), product), 2e-2);
    EXPECT_LT(
        error(Linear::of_several(Weights(*checkpoint_), kIn, kOut / 3, 1, 3)(x), product.narrow(1, kOut / 3, kOut / 3)),
        2e-6);
  }
}

TEST_P(PackedMatrix, GivesItsRows) {
  const Matrix matrix(Weights(*checkpoint_), kOut, kIn);
  EXPECT_EQ(matrix.rows(), kOut);
  EXPECT_EQ(matrix.columns(), kIn);
  const auto ids = at::tensor({5, 0, 71, 5}).view({2, 2});
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
    EXPECT_TRUE(matrix.look_up(ids, type).equal(numbers_.to(type).index({ids})));
    EXPECT_TRUE(matrix.row_slice(4, 9).dense(type).equal(numbers_.slice(0, 4, 13).to(type)));
  }
  EXPECT_TRUE(checkpoint_->load("weight").equal(numbers_));  // as a layer that is no matrix takes it
}

TEST_P(PackedMatrix, LiesInTheFileItself) {
  const auto packed = [&] { return *checkpoint_->load_packed("weight", std::vector<int64_t>{kOut, kIn}); };
  EXPECT_EQ(packed().bytes.const_data_ptr(), packed().bytes.const_data_ptr());
}

INSTANTIATE_TEST_SUITE_P(Types, PackedMatrix,
                         testing::Values(Packing::float8_e4m3, Packing::float8_e5m2, Packing::q8_0, Packing::q4_k),
                         [](const auto& info) { return layout_of(info.param).name; });

}  // namespace
}  // namespace eav
