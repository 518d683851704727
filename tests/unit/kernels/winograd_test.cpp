// The kernel against the convolution in float64.
#include "kernels/winograd.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "instruction_sets.h"

namespace eav {
namespace {
using at::Tensor;

class WinogradKernel : public OnInstructionSet {};
INSTANTIATE_TEST_SUITE_P(Targets, WinogradKernel, on_every_instruction_set(), instruction_set_name);

struct Case {
  int64_t in, out, taps, frames, height, width;
  bool enlarge = false, replicate = false, bias = true, add = false;
  at::ScalarType type = at::kFloat;
};

// frames [taps - 1 + T, H, W, in], weight [out, in, taps, 3, 3] -> [T, H, W, out]
Tensor convolved(const Case& c, const Tensor& frames, const Tensor& weight, const Tensor& bias) {
  auto x = frames.to(at::kDouble);
  if (c.enlarge) x = x.repeat_interleave(2, 1).repeat_interleave(2, 2);
  x = x.permute({3, 0, 1, 2}).unsqueeze(0);  // [1, in, taps - 1 + T, H, W]
  x = c.replicate ? at::replication_pad3d(x, {1, 1, 1, 1, 0, 0}) : at::constant_pad_nd(x, {1, 1, 1, 1});
  const auto b = c.bias ? std::optional(bias.to(at::kDouble)) : std::nullopt;
  return at::conv3d(x, weight.to(at::kDouble), b)[0].permute({1, 2, 3, 0});
}

TEST_P(WinogradKernel, IsTheConvolution) {
  const Case cases[] = {
      {1, 1, 1, 1, 1, 1},
      {3, 5, 1, 2, 7, 6},
      {4, 17, 3, 1, 5, 9},
      {33, 8, 3, 3, 6, 4},
      {16, 33, 1, 1, 31, 30, false, true},
      {5, 40, 3, 2, 3, 1, false, true, false},
      {8, 7, 1, 3, 6, 10, true},
      {19, 16, 3, 2, 10, 6, true, true, true, true},
      {7, 3, 3, 2, 4, 5, false, false, true, true},
      {65, 64, 1, 1, 2, 25, false, false, false, true},
      {19, 33, 3, 2, 10, 6, true, true, true, true, at::kBFloat16},
      {5, 7, 1, 2, 7, 6, false, false, true, false, at::kBFloat16},
  };
  for (const auto& c : cases) {
    const int64_t scale = c.enlarge ? 2 : 1;
    const auto frames = at::randn({c.taps - 1 + c.frames, c.height / scale, c.width / scale, c.in}).to(c.type);
    const auto weight = at::randn({c.out, c.in, c.taps, 3, 3}), bias = at::randn({c.out});
    const auto before = at::randn({c.frames, c.height, c.width, c.out}).to(c.type);
    auto result = before.clone();

    std::vector<const void*> input;
    std::vector<void*> output;
    for (int64_t t = 0; t < frames.size(0); ++t) input.push_back(frames[t].const_data_ptr());
    for (int64_t t = 0; t < c.frames; ++t) output.push_back(result[t].mutable_data_ptr());
    WinogradConv conv{.in = c.in,
                      .out = c.out,
                      .taps = c.taps,
                      .frames = c.frames,
                      .height = c.height,
                      .width = c.width,
                      .enlarge = c.enlarge,
                      .replicate = c.replicate,
                      .element = *element_of(c.type),
                      .input = input.data(),
                      .weight = weight.const_data_ptr<float>(),
                      .bias = c.bias ? bias.const_data_ptr<float>() : nullptr,
                      .result = output.data(),
                      .add = c.add,
                      .packed = nullptr};
    // What packing leaves out is never read as a number.
    std::vector<float> packed(winograd_packed_size(conv), std::nanf(""));
    conv.packed = packed.data();
    // In parts, as threads do it.
    winograd_pack(conv, 0, c.out / 2);
    winograd_pack(conv, c.out / 2, c.out);
    winograd_convolve(conv, 0, conv.tiles() / 3);
    winograd_convolve(conv, conv.tiles() / 3, conv.tiles());

    auto expected = convolved(c, frames, weight, bias);
    const auto largest = expected.abs().max();
    if (c.add) expected = expected + before.to(at::kDouble);
    const auto error = ((result.to(at::kDouble) - expected).abs().max() / largest).item<double>();
    const auto most = c.type == at::kFloat ? 2e-6 : 5e-3;  // rounded once: half of bfloat16's last place
    EXPECT_LT(error, most) << c.in << " -> " << c.out << ", " << c.taps << " taps, " << c.height << "x" << c.width;
  }
}

}  // namespace
}  // namespace eav
