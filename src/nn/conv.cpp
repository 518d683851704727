#include "nn/conv.h"

#include <ATen/Parallel.h>

#include "nn/winograd.h"

namespace eav {
namespace {

// Weights held in another type than the input's are converted for this call alone.
std::optional<Tensor> in_type_of(const Tensor& x, const std::optional<Tensor>& t) {
  return t ? std::optional(t->to(x.scalar_type())) : std::nullopt;
}

// out [T, H, W, out] from frames [taps - 1 + T, H, W, in] and a weight [out, in, taps, 3, 3], on the CPU in float32.
void convolve_winograd(const Tensor& frames, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& out,
                       Write write) {
  const auto input = frames.contiguous(), w = weight.to(at::kFloat).contiguous();
  const auto b = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  WinogradConv conv{.in = w.size(1),
                    .out = w.size(0),
                    .taps = w.size(2),
                    .frames = out.size(0),
                    .height = out.size(1),
                    .width = out.size(2),
                    .input = input.const_data_ptr<float>(),
                    .weight = w.const_data_ptr<float>(),
                    .bias = b.defined() ? b.const_data_ptr<float>() : nullptr,
                    .result = out.mutable_data_ptr<float>(),
                    .add = write == Write::kAdd,
                    .packed = nullptr};
  const auto packed = at::empty({static_cast<int64_t>(winograd_packed_size(conv))}, out.options());
  conv.packed = packed.mutable_data_ptr<float>();
  at::parallel_for(0, conv.out, 1, [&](int64_t begin, int64_t end) { winograd_pack(conv, begin, end); });
  at::parallel_for(0, conv.tiles(), 1, [&](int64_t begin, int64_t end) { winograd_convolve(conv, begin, end); });
}

void convolve(const Tensor& frames, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& out,
              Write write) {
  // With few positions the transform of the weights costs more than it saves.
  const auto positions = out.size(0) * out.size(1) * out.size(2);
  if (out.is_cpu() && out.scalar_type() == at::kFloat && out.is_contiguous() && positions >= 1024)
    return convolve_winograd(frames, weight, bias, out, write);

  const auto x = frames.permute({3, 0, 1, 2}).unsqueeze(0);  // [1, in, taps - 1 + T, H, W], channels last in memory
  const auto y = at::conv3d(x, weight.to(x.scalar_type()), in_type_of(x, bias), 1, at::IntArrayRef{0, 1, 1});
  const auto result = y[0].permute({1, 2, 3, 0});  // [T, H, W, out]
  write == Write::kAdd ? out.add_(result) : out.copy_(result);
}

}  // namespace

void Conv2d::operator()(const Tensor& frames, const Tensor& out) const {
  convolve(frames, weight.unsqueeze(2), bias, out, Write::kReplace);
}

void CausalConv3d::operator()(const Tensor& frames, const Tensor& out, Write write) const {
  convolve(frames, weight, bias, out, write);
}

Tensor PointwiseConv::operator()(const Tensor& x) const {
  return at::linear(x, weight.to(x.scalar_type()), in_type_of(x, bias));
}

}  // namespace eav
