#include "models/hunyuan_video/vae_blocks.h"

namespace eav::hunyuan_video {
namespace {

constexpr double kEps = 1e-6;                          // of every norm
constexpr int64_t kTileSize = 256, kTileStride = 192;  // of a tile, and from one to the next, in pixels of the video

Resnet resnet_block(const Weights& w, int64_t in, int64_t out, const VaeConfig& c) {
  Resnet block{
      normed_conv(w / "norm1", w / "conv1", in, out, c), normed_conv(w / "norm2", w / "conv2", out, out, c), {}};
  if (in != out) block.conv_shortcut.emplace(w / "conv_shortcut" / "conv", in, out);
  return block;
}

}  // namespace

TileGrid tile_grid(const VaeConfig& c) {
  const auto tiling = Tiling::of_pixels(kTileSize, kTileStride, c.spatial_compression());
  return {.rows = tiling, .columns = tiling};
}

Conv3d causal_conv(const Weights& w, int64_t in, int64_t out) {
  return {w / "conv", in, out, {.past = 2, .future = 0, .border = Border::kReplicate}};
}

NormedConv<GroupNormSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out,
                                      const VaeConfig& c) {
  return {{{norm, in, c.norm_num_groups, kEps}}, causal_conv(conv, in, out)};
}

std::vector<Resnet> resnet_blocks(const Weights& w, int64_t count, int64_t in, int64_t out, const VaeConfig& c) {
  return read_resnets(w / "resnets", count, in, out,
                      [&](const Weights& at, int64_t from, int64_t to) { return resnet_block(at, from, to, c); });
}

MidBlock mid_block(const Weights& w, const VaeConfig& c) {
  const auto channels = c.block_out_channels.back();
  return read_mid_block(w, channels, c.norm_num_groups, kEps, c.mid_block_add_attention,
                        [&](const Weights& at) { return resnet_block(at, channels, channels, c); });
}

}  // namespace eav::hunyuan_video
