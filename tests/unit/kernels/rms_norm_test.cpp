// Root mean square normalisation and SiLU in one pass against their formula in float64.
#include "kernels/rms_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <utility>

#include "instruction_sets.h"

namespace eav {
namespace {

class RmsNormKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, RmsNormKernel, on_every_instruction_set(), instruction_set_name);

TEST_P(RmsNormKernel, NormalisesAndActivates) {
  for (const int64_t channels : {1, 3, 4, 7, 8, 16, 19, 33, 96, 384}) {
    const auto weight = at::randn({channels});
    for (const auto& [in_place, type] : {std::pair(false, at::kFloat), {true, at::kFloat}, {true, at::kBFloat16}}) {
      const auto x = (5 * at::randn({9, channels})).to(type);
      const auto out = in_place ? x.clone() : at::full({9, channels}, 7.0f);
      const auto before = out.clone();
      rms_norm_silu({.channels = channels,
                     .element = *element_of(type),
                     .x = (in_place ? out : x).const_data_ptr(),
                     .weight = weight.const_data_ptr<float>(),
                     .eps = 1e-6f,
                     .out = out.mutable_data_ptr()},
                    1, 8);
      const auto wide = x.to(at::kDouble);
      const auto normed = wide / (wide.square().mean(1, true) + 1e-6).sqrt() * weight.to(at::kDouble);
      const auto expected = normed / (1 + at::exp(-normed));
      const auto error = (out.to(at::kDouble) - expected).slice(0, 1, 8).abs() / (1 + expected.slice(0, 1, 8).abs());
      EXPECT_LT(error.max().item<double>(), type == at::kFloat ? 2e-6 : 4e-3) << channels;
      for (const int64_t row : {0, 8}) EXPECT_TRUE(at::equal(out[row], before[row])) << "that was not asked for";
    }
  }
}

TEST_P(RmsNormKernel, ZerosStayZeros) {
  const auto x = at::zeros({2, 20}), weight = at::ones({20});
  rms_norm_silu({.channels = 20,
                 .element = Element::float32,
                 .x = x.const_data_ptr(),
                 .weight = weight.const_data_ptr<float>(),
                 .eps = 1e-24f,
                 .out = x.mutable_data_ptr()},
                0, 2);
  EXPECT_TRUE((x == 0).all().item<bool>());
}

}  // namespace
}  // namespace eav
