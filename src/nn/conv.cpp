#include "nn/conv.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "base/meta_memory.h"
#include "kernels/winograd.h"

namespace eav {
namespace {

// Weights held in another type than the input's are converted for this call alone.
std::optional<Tensor> in_type_of(const Tensor& x, const std::optional<Tensor>& t) {
  return t ? std::optional(t->to(x.scalar_type())) : std::nullopt;
}

// What by_library() makes of a tensor of a plan, and what oneDNN does: input, weight and result in its own layout.
Tensor by_library_planned(const Tensor& x, const Tensor& w, int64_t zeros, int64_t stride) {
  const auto length = [&](int64_t dim) { return (x.size(dim) + 2 * zeros - w.size(3)) / stride + 1; };
  std::vector<int64_t> shape{length(-2), length(-1), w.size(0)};
  if (x.dim() == 5) shape.insert(shape.begin(), x.size(2) - w.size(2) + 1);
  const auto packed =
      std::array{at::empty_like(x, at::MemoryFormat::Contiguous), at::empty_like(w), at::empty(shape, x.options())};
  return at::empty(shape, x.options());
}

at::MemoryFormat channels_last(const Tensor& x) {
  return x.dim() == 5 ? at::MemoryFormat::ChannelsLast3d : at::MemoryFormat::ChannelsLast;
}

// Frames [T, H, W, C] with `margin` more positions on each side, as those nearest to them.
Tensor pad_frames(const Tensor& x, int64_t margin) {
  const auto height = x.size(1), width = x.size(2);
  auto padded = at::empty({x.size(0), height + 2 * margin, width + 2 * margin, x.size(3)}, x.options());
  const auto columns = padded.narrow(2, margin, width);
  columns.narrow(1, margin, height).copy_(x);
  for (int64_t i = 0; i < margin; ++i) {
    columns.select(1, i).copy_(x.select(1, 0));
    columns.select(1, margin + height + i).copy_(x.select(1, -1));
  }
  for (int64_t i = 0; i < margin; ++i) {
    padded.select(2, i).copy_(padded.select(2, margin));
    padded.select(2, margin + width + i).copy_(padded.select(2, margin + width - 1));
  }
  return padded;
}

// x [1, in, taps - 1 + T, H, W] -> [T, h, w, out], by ATen; x [1, in, H, W], where the weight has one tap, -> [h, w,
// out].
Tensor by_library(Tensor x, const Tensor& weight, const std::optional<Tensor>& bias, Border border, int64_t stride) {
  const auto margin = weight.size(3) / 2, zeros = border == Border::kZero ? margin : 0;
  auto w = weight.to(x.scalar_type());
  const auto b = in_type_of(x, bias);
  if (border == Border::kReplicate)
    x = is_for_cpu(x) ? at::replication_pad3d(x, {margin, margin, margin, margin, 0, 0})
                      : pad_frames(x[0].permute({1, 2, 3, 0}), margin).permute({3, 0, 1, 2}).unsqueeze(0);
  if (border == Border::kZeroAfter) x = at::constant_pad_nd(x, {0, margin, 0, margin});
  if (x.is_meta()) return by_library_planned(x, w, zeros, stride);
  if (x.dim() == 4) w = w.squeeze(2);
  if (!x.is_cpu()) {  // a kernel of theirs takes both in one layout
    x = x.contiguous(channels_last(x));
    w = w.contiguous(channels_last(x));
  }
  if (x.dim() == 4) return at::conv2d(x, w, b, at::IntArrayRef{stride}, at::IntArrayRef{zeros})[0].permute({1, 2, 0});
  return at::conv3d(x, w, b, at::IntArrayRef{1, stride, stride}, at::IntArrayRef{0, zeros, zeros})[0].permute(
      {1, 2, 3, 0});
}

bool enlarges(std::span<const Tensor> frames, std::span<const Tensor> out) {
  return out[0].size(0) == 2 * frames[0].size(0) && out[0].size(1) == 2 * frames[0].size(1);
}

// On the CPU, in float32's arithmetic.
void convolve_winograd(std::span<const Tensor> frames, const Tensor& weight, const std::optional<Tensor>& bias,
                       std::span<const Tensor> out, Border border, Write write) {
  std::vector<Tensor> held;  // while the kernel reads it
  for (const auto& frame : frames) held.push_back(frame.to(out[0].scalar_type()).contiguous());
  const auto w = weight.to(at::kFloat).contiguous();
  const auto b = bias ? bias->to(at::kFloat).contiguous() : Tensor();
  WinogradConv conv{.in = w.size(1),
                    .out = w.size(0),
                    .taps = w.size(2),
                    .frames = static_cast<int64_t>(out.size()),
                    .height = out[0].size(0),
                    .width = out[0].size(1),
                    .enlarge = enlarges(frames, out),
                    .replicate = border == Border::kReplicate,
                    .element = *element_of(out[0].scalar_type()),
                    .add = write == Write::kAdd};
  const auto packed = at::empty({static_cast<int64_t>(winograd_packed_size(conv))}, w.options());
  if (packed.is_meta()) return;

  std::vector<const void*> input;
  std::vector<void*> result;
  for (const auto& frame : held) input.push_back(frame.const_data_ptr());
  for (const auto& frame : out) result.push_back(frame.mutable_data_ptr());
  conv.input = input.data();
  conv.result = result.data();
  conv.weight = w.const_data_ptr<float>();
  conv.bias = b.defined() ? b.const_data_ptr<float>() : nullptr;
  conv.packed = packed.mutable_data_ptr<float>();
  at::parallel_for(0, conv.out, 1, [&](int64_t begin, int64_t end) { winograd_pack(conv, begin, end); });
  at::parallel_for(0, conv.tiles(), 1, [&](int64_t begin, int64_t end) { winograd_convolve(conv, begin, end); });
}

}  // namespace

Tensor conv_weight(const Tensor& weight) {
  return is_for_cpu(weight) ? weight : weight.contiguous(channels_last(weight));
}

void convolve(std::span<const Tensor> frames, const Tensor& weight, const std::optional<Tensor>& bias,
              std::span<const Tensor> out, Border border, Write write) {
  // With few positions the transform of the weights costs more than it saves.
  const auto positions = static_cast<int64_t>(out.size()) * out[0].size(0) * out[0].size(1);
  if (positions >= 1024 && weight.size(3) == 3 && std::ranges::all_of(out, kernels_take))
    return convolve_winograd(frames, weight, bias, out, border, write);

  auto x = at::stack(at::TensorList(frames.data(), frames.size()));  // [taps - 1 + T, H, W, in]
  if (enlarges(frames, out)) x = x.repeat_interleave(2, 1).repeat_interleave(2, 2);
  x = x.permute({3, 0, 1, 2}).unsqueeze(0);  // [1, in, taps - 1 + T, H, W], channels last in memory
  const auto results = by_library(std::move(x), weight, bias, border, /*stride=*/1).unbind();  // [H, W, out] each
  for (size_t t = 0; t < out.size(); ++t) write == Write::kAdd ? out[t].add_(results[t]) : out[t].copy_(results[t]);
}

Tensor convolve_strided(std::span<const Tensor> frames, const Tensor& weight, const std::optional<Tensor>& bias,
                        Border border, int64_t stride) {
  if (frames.size() == 1)
    return by_library(frames[0].permute({2, 0, 1}).unsqueeze(0), weight, bias, border, stride).contiguous();
  const auto x = at::stack(at::TensorList(frames.data(), frames.size())).permute({3, 0, 1, 2}).unsqueeze(0);
  return by_library(x, weight, bias, border, stride)[0].contiguous();
}

int64_t frames_at_once(int64_t frames, int64_t positions) {
  constexpr int64_t kPositions = 32768;
  return std::min(frames, std::max<int64_t>(2, kPositions / positions));
}

Tensor PointwiseConv::operator()(const Tensor& x) const {
  return at::linear(x, weight.to(x.scalar_type()), in_type_of(x, bias));
}

}  // namespace eav
