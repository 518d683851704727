// The kernel on random blocks against ATen's operators, on every instruction set; tests/parity/test_stored_types.py
// compares both with GGUF's own package.
#include "kernels/dequantize.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "instruction_sets.h"
#include "weights/packed.h"

namespace eav {
namespace {

class DequantizeKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, DequantizeKernel, on_every_instruction_set(), instruction_set_name);

bool same_bits(const Tensor& a, const Tensor& b) {
  const auto numbers = a.isfinite().logical_or(a.isinf());
  const auto as_bits = [](const Tensor& x) { return x.view(x.scalar_type() == at::kFloat ? at::kInt : at::kShort); };
  return at::equal(a.isnan(), b.isnan()) &&
         at::equal(as_bits(a).masked_select(numbers), as_bits(b).masked_select(numbers));
}

TEST_P(DequantizeKernel, GivesTheBitsOfTheOperators) {
  for (const auto& layout : kPackings) {
    const bool bytes = layout.elements == 1;
    for (const int64_t blocks : {1, bytes ? 523 : 67}) {
      // Every byte once, where there is nothing else to a number.
      const auto from = bytes && blocks > 1 ? at::arange(blocks).remainder(256).to(at::kByte).view({blocks, 1})
                                            : at::randint(256, {blocks, layout.bytes}, at::kByte);
      const float scale = bytes ? 0.37f : 1;
      const auto expected = unpacked_by_operators(from, layout.packing).mul(scale);
      auto found = at::full({blocks, layout.elements}, 7.0f);
      auto narrow = found.to(at::kBFloat16);
      dequantize(layout.packing, from.const_data_ptr<uint8_t>(), blocks, scale, found.mutable_data_ptr<float>());
      dequantize(layout.packing, from.const_data_ptr<uint8_t>(), blocks, scale,
                 narrow.mutable_data_ptr<c10::BFloat16>());
      EXPECT_TRUE(same_bits(found, expected)) << layout.name << ", " << blocks;
      EXPECT_TRUE(same_bits(narrow, expected.to(at::kBFloat16))) << layout.name << ", " << blocks << ", bfloat16";
    }
  }
}

}  // namespace
}  // namespace eav
