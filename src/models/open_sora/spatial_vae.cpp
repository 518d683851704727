#include "models/open_sora/spatial_vae.h"

#include <utility>

namespace eav::open_sora {
namespace {

constexpr double kSpatialEps = 1e-6;        // of every norm
constexpr double kScalingFactor = 0.18215;  // latents are encodings times this, whatever the configuration says
constexpr int64_t kColours = 3;

NormedConv<GroupNormSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out,
                                      const SpatialVaeConfig& c) {
  return {{{norm, in, c.norm_num_groups, kSpatialEps}}, Conv3d::of_pictures(conv, in, out)};
}

ResnetBlock<GroupNormSilu> resnet_block(const Weights& w, int64_t in, int64_t out, const SpatialVaeConfig& c) {
  ResnetBlock<GroupNormSilu> block{
      normed_conv(w / "norm1", w / "conv1", in, out, c), normed_conv(w / "norm2", w / "conv2", out, out, c), {}};
  if (in != out) block.conv_shortcut = PointwiseConv::of_pictures(w / "conv_shortcut", in, out);
  return block;
}

auto resnet_blocks(const Weights& w, int64_t count, int64_t in, int64_t out, const SpatialVaeConfig& c) {
  return read_resnets(w / "resnets", count, in, out,
                      [&](const Weights& at, int64_t from, int64_t to) { return resnet_block(at, from, to, c); });
}

MidBlock mid_block(const Weights& w, const SpatialVaeConfig& c) {
  const auto channels = c.block_out_channels.back();
  return read_mid_block(w, channels, c.norm_num_groups, kSpatialEps, c.mid_block_add_attention,
                        [&](const Weights& at) { return resnet_block(at, channels, channels, c); });
}

}  // namespace

SpatialEncoder::SpatialEncoder(const Weights& w, const SpatialVaeConfig& c)
    : conv_in(Conv3d::of_pictures(w / "encoder" / "conv_in", kColours, c.block_out_channels[0])),
      mid(mid_block(w / "encoder" / "mid_block", c)),
      conv_out(normed_conv(w / "encoder" / "conv_norm_out", w / "encoder" / "conv_out", c.block_out_channels.back(),
                           2 * c.latent_channels, c)),
      quant_conv(PointwiseConv::of_pictures(w / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels)),
      latent_channels(c.latent_channels) {
  auto in = c.block_out_channels[0];
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "encoder" / "down_blocks" / level;
    const auto out = c.block_out_channels[level];
    DownLevel added{resnet_blocks(block, c.layers_per_block, in, out, c), {}};
    if (level + 1 < c.levels()) {  // zeros lie below and to the right alone
      auto conv = Conv3d::of_pictures(block / "downsamplers" / 0 / "conv", out, out, Border::kZeroAfter);
      added.resample = Downsample{std::move(conv), /*time_stride=*/1, /*space_stride=*/2};
    }
    down.push_back(std::move(added));
    in = out;
  }
}

Tensor SpatialEncoder::operator()(const Tensor& frame, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto x = conv_in(frame.unsqueeze(0), pass);
  for (const auto& level : down) x = level(std::move(x), pass);
  const auto moments = quant_conv(conv_out(mid(std::move(x), pass), pass)[0]);
  return moments.slice(2, 0, latent_channels) * kScalingFactor;  // the distribution's mode is its mean
}

SpatialDecoder::SpatialDecoder(const Weights& w, const SpatialVaeConfig& c)
    : post_quant_conv(PointwiseConv::of_pictures(w / "post_quant_conv", c.latent_channels, c.latent_channels)),
      conv_in(Conv3d::of_pictures(w / "decoder" / "conv_in", c.latent_channels, c.block_out_channels.back())),
      mid(mid_block(w / "decoder" / "mid_block", c)),
      conv_out(normed_conv(w / "decoder" / "conv_norm_out", w / "decoder" / "conv_out", c.block_out_channels[0],
                           kColours, c)) {
  auto in = c.block_out_channels.back();
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "decoder" / "up_blocks" / level;
    const auto out = c.block_out_channels[c.levels() - 1 - level];
    UpLevel added{resnet_blocks(block, c.layers_per_block + 1, in, out, c), {}};
    if (level + 1 < c.levels())
      added.resample = Upsample{Conv3d::of_pictures(block / "upsamplers" / 0 / "conv", out, out)};
    up.push_back(std::move(added));
    in = out;
  }
}

Tensor SpatialDecoder::operator()(const Tensor& latents, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto x = mid(conv_in(post_quant_conv(latents / kScalingFactor).unsqueeze(0), pass), pass);
  for (const auto& level : up) x = level(std::move(x), pass);
  return conv_out(std::move(x), pass)[0];
}

}  // namespace eav::open_sora
