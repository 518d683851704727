// What is packed and unpacked again; tests/parity/test_stored_types.py compares q8_0 with GGUF's own package.
#include "kernels/quantize.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>

#include "instruction_sets.h"
#include "kernels/dequantize.h"

namespace eav {
namespace {
using at::Tensor;

class QuantizeKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, QuantizeKernel, on_every_instruction_set(), instruction_set_name);

Tensor there_and_back(const Tensor& x, Packing packing) {
  const auto& layout = layout_of(packing);
  const auto blocks = x.numel() / layout.elements;
  auto bytes = at::empty({blocks * layout.bytes}, at::kByte);
  auto back = at::empty_like(x);
  quantize(packing, x.const_data_ptr<float>(), blocks, bytes.mutable_data_ptr<uint8_t>());
  dequantize(packing, bytes.const_data_ptr<uint8_t>(), blocks, 1, back.mutable_data_ptr<float>());
  return back;
}

// The squared error as a part of the numbers' own squares.
double loss(const Tensor& x, Packing packing) {
  const auto wide = x.to(at::kDouble);
  return ((there_and_back(x, packing).to(at::kDouble) - wide).square().sum() / wide.square().sum()).item<double>();
}

TEST_P(QuantizeKernel, LosesLittleOfNormalNumbers) {
  const auto x = at::randn({64, 1024});
  EXPECT_LT(loss(x, Packing::q8_0), 4e-5);
  EXPECT_LT(loss(x, Packing::q4_k), 0.0058);  // ggml: 0.0061
  EXPECT_LT(loss(x, Packing::float8_e4m3), 9e-4);
}

TEST_P(QuantizeKernel, KeepsNumbersThatThePackingHas) {
  for (const auto packing : {Packing::q8_0, Packing::q4_k, Packing::float8_e4m3}) {
    const auto zeros = at::zeros({512});
    EXPECT_TRUE(there_and_back(zeros, packing).equal(zeros)) << layout_of(packing).name;
  }
  const auto ramp = at::arange(256, at::kFloat).remainder(16);
  EXPECT_LT((there_and_back(ramp, Packing::q4_k) - ramp).abs().max().item<float>(), 2e-2);
  // Offsets above zero are not stored; numbers of one sign, of the same size and small ones come back all the same.
  for (const auto& x : {at::rand({512}) + 3, -at::rand({512}) - 3, at::full({512}, 0.25f), at::full({512}, -0.25f),
                        at::randn({512}) * 1e-2})
    EXPECT_LT(((there_and_back(x, Packing::q4_k) - x).abs().max() / x.abs().max()).item<float>(), 0.09) << x[0];
  EXPECT_EQ(there_and_back(at::full({1}, 1e6f), Packing::float8_e4m3).item<float>(), 448);
}

}  // namespace
}  // namespace eav
