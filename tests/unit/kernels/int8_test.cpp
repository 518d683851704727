// Rows that become 8 bits against the rotation as a matrix, and products against sums of whole numbers in float64.
#include "kernels/int8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "instruction_sets.h"
#include "weights/packed.h"

namespace eav {
namespace {

using at::Tensor;

Tensor in_double(const Tensor& x) { return x.to(at::kDouble); }
Element element_type(const Tensor& x) { return x.scalar_type() == at::kFloat ? Element::float32 : Element::bfloat16; }

// Rows in 8 bits, and what they are multiplied by.
struct Quants {
  Tensor numbers, scales;  // [rows, columns] int8, [rows, 1] float32
};

Quants quants_of(const Tensor& x) {
  const auto columns = x.size(1), padded = (columns + kInt8Padding - 1) / kInt8Padding * kInt8Padding;
  const auto bytes = at::empty({x.size(0), padded}, at::kByte), scales = at::empty({x.size(0), 1}),
             scratch = at::empty({padded});
  for (int64_t r = 0; r < x.size(0); ++r) {
    const auto row = x[r].contiguous();
    scales[r].fill_(quantize_int8(row.const_data_ptr(), element_type(x), columns, int8_rotation(columns),
                                  scratch.mutable_data_ptr<float>(), bytes[r].mutable_data_ptr<uint8_t>()));
  }
  EXPECT_TRUE((bytes.slice(1, columns) == 128).all().item<bool>());
  return {(bytes.slice(1, 0, columns).to(at::kInt) - 128).to(at::kChar), scales};
}

class Int8Kernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, Int8Kernel, on_every_instruction_set(), instruction_set_name);

TEST_P(Int8Kernel, RotatesRowsAndRoundsThem) {
  for (const int64_t columns : {1, 77, 16, 48, 96, 192, 128 * 3, 256 * 2, 1920})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      auto x = at::randn({3, columns}).to(type);
      x[1][columns / 2] = 40;
      const auto group = int8_rotation(columns);
      EXPECT_EQ(group > 0 ? columns % group : 0, 0);
      const auto rotated =
          group > 0 ? at::matmul(in_double(x).view({3, -1, group}), regular_hadamard(group, at::kDouble)).flatten(1)
                    : in_double(x);
      const auto [numbers, scales] = quants_of(x);
      EXPECT_TRUE(at::allclose(in_double(scales), rotated.abs().amax(1, true) / 127, 1e-5)) << columns;
      EXPECT_LT((in_double(numbers) - rotated / in_double(scales)).abs().max().item<double>(), 0.501) << columns;
    }
}

TEST_P(Int8Kernel, RowsThatAreNoNumbersHaveNoScale) {
  for (const int64_t columns : {50, 256})
    for (const float wrong : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      auto x = at::randn({1, columns});
      x[0][columns - 3] = wrong;
      EXPECT_FALSE(at::isfinite(quants_of(x).scales).item<bool>());
    }
  EXPECT_EQ(quants_of(at::zeros({1, 64})).scales.item<float>(), 0);
}

TEST(Int8Tiles, GoBackToRows) {
  for (const auto& [out, in] : {std::pair<int64_t, int64_t>{1, 1}, {50, 77}, {64, 64}, {130, 1001}}) {
    const auto rows = at::randint(-128, 128, {out, in}, at::kChar), back = at::zeros_like(rows);
    const auto tiles = at::empty({int8_bytes(out, in)}, at::kChar), sums = at::empty({int8_padded_rows(out)}, at::kInt);
    pack_int8(rows.const_data_ptr<int8_t>(), out, in, tiles.mutable_data_ptr<int8_t>(),
              sums.mutable_data_ptr<int32_t>());
    EXPECT_TRUE(sums.slice(0, 0, out).equal((rows.sum(1, false, at::kInt) * 128).to(at::kInt)));
    unpack_int8(tiles.const_data_ptr<int8_t>(), out, in, back.mutable_data_ptr<int8_t>());
    EXPECT_TRUE(back.equal(rows));
  }
}

// Weights as a product takes them.
struct Weights8 {
  Tensor tiles, scales, sums;
  explicit Weights8(const Tensor& numbers)
      : tiles(at::empty({int8_bytes(numbers.size(0), numbers.size(1))}, at::kChar)),
        scales(at::rand({int8_padded_rows(numbers.size(0))})),
        sums(at::empty({int8_padded_rows(numbers.size(0))}, at::kInt)) {
    pack_int8(numbers.const_data_ptr<int8_t>(), numbers.size(0), numbers.size(1), tiles.mutable_data_ptr<int8_t>(),
              sums.mutable_data_ptr<int32_t>());
  }
};

void product_of(const Tensor& x, const Tensor& numbers, const Weights8& w, const Tensor& bias, const Tensor& y,
                bool gelu) {
  multiply({.rows = x.size(0),
            .in = x.size(1),
            .out = numbers.size(0),
            .x = x.const_data_ptr(),
            .x_stride = x.stride(0),
            .element = element_type(x),
            .rotated = int8_rotation(x.size(1)),
            .tiles = w.tiles.const_data_ptr<int8_t>(),
            .scales = w.scales.const_data_ptr<float>(),
            .sums = w.sums.const_data_ptr<int32_t>(),
            .bias = bias.defined() ? bias.const_data_ptr<float>() : nullptr,
            .y = y.mutable_data_ptr(),
            .y_stride = y.stride(0),
            .gelu_tanh = gelu});
}

// The same of the same whole numbers.
Tensor formula_of(const Tensor& x, const Tensor& numbers, const Weights8& w, const Tensor& bias, bool gelu) {
  const auto quants = quants_of(x);
  const auto scales = in_double(quants.scales) * in_double(w.scales.slice(0, 0, numbers.size(0)));
  auto sums = at::mm(in_double(quants.numbers), in_double(numbers).t()) * scales;
  if (bias.defined()) sums = sums + in_double(bias);
  return gelu ? at::gelu(sums, "tanh") : sums;
}

double largest_error(const Tensor& y, const Tensor& expected) {
  return ((in_double(y) - expected).abs().max() / expected.abs().max()).item<double>();
}

class Int8Products : public Int8Kernel {
 protected:
  void SetUp() override {
    if (!int8_kernel_works()) GTEST_SKIP() << "this CPU has no products of unsigned and signed bytes";
    Int8Kernel::SetUp();
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Int8Products, on_every_instruction_set(), instruction_set_name);

TEST_P(Int8Products, IsThatOfWholeNumbers) {
  at::manual_seed(1);
  for (const auto& [rows, in, out] : {std::array<int64_t, 3>{1, 1, 1},
                                      {1, 1920, 200},
                                      {3, 77, 50},
                                      {70, 130, 64},
                                      {600, 96, 17},
                                      {40, 2100, 129},
                                      {33, 4096, 48},
                                      {2, 15360, 80}})
    for (const auto type : {at::kFloat, at::kBFloat16}) {
      // Rows of x and y are parts of longer ones, and what lies between those of y stays.
      const auto x = at::randn({rows, in + 5}).to(type).slice(1, 2, in + 2);
      const auto numbers = at::randint(-127, 128, {out, in}, at::kChar), bias = at::randn({out}) * 100;
      const Weights8 w(numbers);
      const auto longer = at::full({rows, out + 4}, 7, x.options()), y = longer.slice(1, 1, out + 1);
      const auto most = type == at::kFloat ? 2e-6 : 5e-3;
      for (const bool gelu : {false, true}) {
        product_of(x, numbers, w, gelu ? Tensor() : bias, y, gelu);
        EXPECT_LT(largest_error(y, formula_of(x, numbers, w, gelu ? Tensor() : bias, gelu)), most)
            << type << y.sizes() << in;
        EXPECT_TRUE((longer.slice(1, 0, 1) == 7).all().item<bool>() && (longer.slice(1, -3) == 7).all().item<bool>());
      }
    }
}

TEST_P(Int8Products, OfTheLargestNumbersIsExact) {
  constexpr int64_t in = 7680;
  for (const int weight : {127, -127, -128})
    for (const float value : {2.0f, -2.0f}) {
      const auto x = at::full({3, in}, value), numbers = at::full({20, in}, weight, at::kChar);
      const Weights8 w(numbers);
      const auto y = at::empty({3, 20});
      product_of(x, numbers, w, {}, y, false);
      EXPECT_LT(largest_error(y, formula_of(x, numbers, w, {}, false)), 1e-6);
    }
}

TEST_P(Int8Products, RowsMayLieFarApart) {
  if (GetParam() != instruction_sets().front()) GTEST_SKIP() << "once is enough";
  constexpr int64_t far = (int64_t{1} << 31) + 64;
  const auto memory = at::empty({far + 64}, at::kBFloat16), result = at::empty({far + 64}, at::kBFloat16);
  const auto x = memory.as_strided({2, 64}, {far, 1}), y = result.as_strided({2, 48}, {far, 1});
  x.copy_(at::randn({2, 64}));
  const auto numbers = at::randint(-127, 128, {48, 64}, at::kChar);
  const Weights8 w(numbers);
  product_of(x, numbers, w, {}, y, false);
  EXPECT_LT(largest_error(y, formula_of(x, numbers, w, {}, false)), 5e-3);
}

}  // namespace
}  // namespace eav
