#include "models/open_sora/spatial_vae.h"

#include <algorithm>
#include <utility>

namespace eav::open_sora {
namespace {

constexpr double kSpatialEps = 1e-6;        // of every norm
constexpr double kScalingFactor = 0.18215;  // latents are encodings times this, whatever the configuration says
constexpr int64_t kColours = 3;

VideoConv conv(const Weights& w, int64_t in, int64_t out) {
  return {w.load("weight", {out, in, 3, 3}).unsqueeze(2),  // [out, in, 1, 3, 3]
          w.optional("bias", {out}),
          {.past = 0, .future = 0, .border = Border::kZero}};
}

NormedConv normed_conv(const Weights& w, const char* norm, const char* convolution, int64_t in, int64_t out,
                       const SpatialVaeConfig& c) {
  return {{w / norm, in, c.norm_num_groups, kSpatialEps}, conv(w / convolution, in, out)};
}

ResnetBlock resnet_block(const Weights& w, int64_t in, int64_t out, const SpatialVaeConfig& c) {
  ResnetBlock block{normed_conv(w, "norm1", "conv1", in, out, c), normed_conv(w, "norm2", "conv2", out, out, c), {}};
  if (in != out) block.conv_shortcut = PointwiseConv::of_pictures(w / "conv_shortcut", in, out);
  return block;
}

MidBlock mid_block_of(const Weights& w, const SpatialVaeConfig& c) {
  const auto channels = c.block_out_channels.back();
  return read_mid_block(w, channels, c.norm_num_groups, kSpatialEps, c.mid_block_add_attention,
                        [&](const Weights& at) { return resnet_block(at, channels, channels, c); });
}

std::vector<ResnetBlock> resnet_blocks(const Weights& w, int64_t count, int64_t in, int64_t out,
                                       const SpatialVaeConfig& c) {
  std::vector<ResnetBlock> blocks;
  for (int64_t i = 0; i < count; ++i) blocks.push_back(resnet_block(w / i, i == 0 ? in : out, out, c));
  return blocks;
}

}  // namespace

Downsample::Downsample(const Weights& w, int64_t channels)
    : weight(w.load("weight", {channels, channels, 3, 3})), bias(w.load("bias", {channels})) {}

Tensor Downsample::operator()(const Tensor& frame) const {
  // Zeros lie below and to the right alone.
  const auto planes = at::constant_pad_nd(frame.permute({2, 0, 1}).unsqueeze(0), {0, 1, 0, 1});  // [1, C, H + 1, W + 1]
  const auto type = frame.scalar_type();
  return at::conv2d(planes, weight.to(type), bias.to(type), /*stride=*/2)[0].permute({1, 2, 0}).contiguous();
}

Tensor Upsample::operator()(const Tensor& frame) const {
  const auto out = at::empty({2 * frame.size(0), 2 * frame.size(1), frame.size(2)}, frame.options());
  convolve({&frame, 1}, conv.weight, conv.bias, {&out, 1});
  return out;
}

SpatialEncoder::SpatialEncoder(const Weights& w, const SpatialVaeConfig& c)
    : conv_in(conv(w / "encoder" / "conv_in", kColours, c.block_out_channels[0])),
      mid_block(mid_block_of(w / "encoder" / "mid_block", c)),
      conv_out(normed_conv(w / "encoder", "conv_norm_out", "conv_out", c.block_out_channels.back(),
                           2 * c.latent_channels, c)),
      quant_conv(PointwiseConv::of_pictures(w / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels)),
      latent_channels(c.latent_channels) {
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "encoder" / "down_blocks" / level;
    const auto in = c.block_out_channels[std::max<int64_t>(level - 1, 0)], out = c.block_out_channels[level];
    auto& added = down_blocks.emplace_back(Level{resnet_blocks(block / "resnets", c.layers_per_block, in, out, c), {}});
    if (level + 1 < c.levels()) added.downsample.emplace(block / "downsamplers" / 0 / "conv", out);
  }
}

Tensor SpatialEncoder::operator()(const Tensor& frame, const Progress& progress) const {
  auto x = conv_in(frame.unsqueeze(0));
  for (const auto& level : down_blocks) {
    x = run_all(level.resnets, std::move(x), progress);
    if (level.downsample) x = {(*level.downsample)(x[0])};
  }
  const auto moments = quant_conv(conv_out(mid_block(std::move(x), progress))[0]);
  return moments.slice(2, 0, latent_channels) * kScalingFactor;  // the distribution's mode is its mean
}

SpatialDecoder::SpatialDecoder(const Weights& w, const SpatialVaeConfig& c)
    : post_quant_conv(PointwiseConv::of_pictures(w / "post_quant_conv", c.latent_channels, c.latent_channels)),
      conv_in(conv(w / "decoder" / "conv_in", c.latent_channels, c.block_out_channels.back())),
      mid_block(mid_block_of(w / "decoder" / "mid_block", c)),
      conv_out(normed_conv(w / "decoder", "conv_norm_out", "conv_out", c.block_out_channels[0], kColours, c)) {
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "decoder" / "up_blocks" / level;
    const auto of = [&](int64_t i) { return c.block_out_channels[c.levels() - 1 - i]; };
    const auto in = of(std::max<int64_t>(level - 1, 0)), out = of(level);
    auto& added =
        up_blocks.emplace_back(Level{resnet_blocks(block / "resnets", c.layers_per_block + 1, in, out, c), {}});
    if (level + 1 < c.levels()) added.upsample.emplace(Upsample{conv(block / "upsamplers" / 0 / "conv", out, out)});
  }
}

Tensor SpatialDecoder::operator()(const Tensor& latents, const Progress& progress) const {
  auto x = conv_in(post_quant_conv(latents / kScalingFactor).unsqueeze(0));
  x = mid_block(std::move(x), progress);
  for (const auto& level : up_blocks) {
    x = run_all(level.resnets, std::move(x), progress);
    if (level.upsample) x = {(*level.upsample)(x[0])};
  }
  return conv_out(std::move(x))[0];
}

int64_t frame_elements(const SpatialVaeConfig& c, int64_t height, int64_t width) {
  int64_t most = 0, positions = height * width;
  for (int64_t level = 0; level < c.levels(); ++level) {
    // The decoder's level has the input of its first block, which may come from a level of more channels, its normed
    // copy, and what a convolution makes of it; and a Winograd transform of a weight.
    const auto out = c.block_out_channels[level], in = c.block_out_channels[std::min(level + 1, c.levels() - 1)];
    most = std::max(most, positions * (2 * std::max(in, out) + 2 * out) + 16 * in * out);
    positions /= 4;
  }
  return most;
}

}  // namespace eav::open_sora
