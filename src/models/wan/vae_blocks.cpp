#include "models/wan/vae_blocks.h"

#include <utility>

#include "nn/attention.h"
#include "nn/rms_norm.h"

namespace eav::wan {
namespace {

constexpr double kNormEps = 1e-24;  // of a mean of squares: it keeps zeros from being divided by 0

}  // namespace

ScaledRmsSilu::ScaledRmsSilu(const Weights& w, int64_t channels)
    : gamma(w.load("gamma", {channels, 1, 1, 1}).flatten()) {}

NormedSilu ScaledRmsSilu::operator()(const Frames&) const {
  return [&](int64_t, const Tensor& frame, const Tensor& out) { rms_norm_silu(frame, gamma, kNormEps, out); };
}

Conv3d causal_conv(const Weights& w, int64_t in, int64_t out) {
  return {w, in, out, {.past = 2, .future = 0, .border = Border::kZero, .before = Border::kZero}};
}

NormedConv<ScaledRmsSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out) {
  return {{norm, in}, causal_conv(conv, in, out)};
}

Resnet resnet_block(const Weights& w, int64_t in, int64_t out) {
  Resnet block{normed_conv(w / "norm1", w / "conv1", in, out), normed_conv(w / "norm2", w / "conv2", out, out), {}};
  if (in != out) block.conv_shortcut.emplace(w / "conv_shortcut", in, out);
  return block;
}

TimeConv::TimeConv(const Weights& w, int64_t in, int64_t out)
    : weight(w.load("weight", {out, in, 3, 1, 1}).flatten(2).transpose(1, 2).flatten(1)), bias(w.load("bias", {out})) {}

Tensor TimeConv::operator()(std::span<const Tensor> window, int64_t begin, int64_t end) const {
  const auto seen = at::cat(at::TensorList(window.data(), window.size()), 2);  // [H, W, 3 * in]
  return at::linear(seen, weight.slice(0, begin, end).to(seen.scalar_type()),
                    bias.slice(0, begin, end).to(seen.scalar_type()));
}

FrameAttention::FrameAttention(const Weights& w, int64_t channels)
    : gamma((w / "norm").load("gamma", {channels, 1, 1}).flatten()),
      to_qkv(Linear::of_patches(w / "to_qkv", {3 * channels, channels, 1, 1})),
      proj(Linear::of_patches(w / "proj", {channels, channels, 1, 1})) {}

Frames FrameAttention::operator()(Frames x) const {
  for (const auto& frame : x) {
    const auto qkv = to_qkv(rms_norm(frame, gamma, kNormEps)).view({1, 1, positions_of(frame), -1}).chunk(3, -1);
    frame.add_(proj(attend(qkv[0], qkv[1], qkv[2]).view_as(frame)));
  }
  return x;
}

MidBlock::MidBlock(const Weights& w, int64_t channels)
    : first(resnet_block(w / "resnets" / 0, channels, channels)),
      attention(w / "attentions" / 0, channels),
      second(resnet_block(w / "resnets" / 1, channels, channels)) {}

Frames MidBlock::operator()(Frames x, Pass& pass) const {
  x = attention(first(std::move(x), pass));
  return second(std::move(x), pass);
}

Tensor of_channels(const std::vector<double>& values, const Tensor& latents) {
  return at::tensor(values, at::kFloat).to(latents.options()).view({1, -1, 1, 1, 1});
}

}  // namespace eav::wan
