#include "models/hunyuan_video/vae_encoder.h"

#include <optional>
#include <utility>

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kColours = 3;

}  // namespace

VaeEncoder::VaeEncoder(const Weights& w, const VaeConfig& c)
    : config_(c),
      conv_in_(causal_conv(w / "encoder" / "conv_in", kColours, c.block_out_channels[0])),
      mid_(mid_block(w / "encoder" / "mid_block", c)),
      conv_out_(normed_conv(w / "encoder" / "conv_norm_out", w / "encoder" / "conv_out", c.block_out_channels.back(),
                            2 * c.latent_channels, c)),
      quant_conv_(w / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels) {
  auto in = c.block_out_channels[0];
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "encoder" / "down_blocks" / level;
    const auto out = c.block_out_channels[level];
    DownLevel added{resnet_blocks(block, c.layers_per_block, in, out, c), {}};
    const bool space = c.doubles_space(level), time = c.doubles_time(level);
    if (space || time)
      added.resample = Downsample{.conv = causal_conv(block / "downsamplers" / 0 / "conv", out, out),
                                  .time_stride = time ? 2 : 1,
                                  .space_stride = space ? 2 : 1};
    down_.push_back(std::move(added));
    in = out;
  }
}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() {
  return {{"decoder.*", "encoding needs no decoder"}, {"post_quant_conv.*", "it precedes the decoder"}};
}

Tensor VaeEncoder::encode(const Tensor& video, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto x = conv_in_(video, pass);
  for (const auto& level : down_) x = level(std::move(x), pass);
  x = mid_(std::move(x), pass);
  progress.check();
  return quant_conv_(joined(conv_out_(std::move(x), pass)));
}

Tensor VaeEncoder::operator()(const Tensor& video, bool tiling, const Progress& progress) const {
  const auto grid = tiling ? std::optional(encoding(tile_grid(config_))) : std::nullopt;
  const auto frames = video[0].permute({1, 2, 3, 0}).contiguous();  // [F, H, W, 3]
  const auto moments = in_tiles(frames, grid, [&](const Tensor& tile) { return encode(tile, progress); });
  // The distribution's mode is its mean; the other channels are its spread.
  return moments.slice(3, 0, config_.latent_channels).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

}  // namespace eav::hunyuan_video
