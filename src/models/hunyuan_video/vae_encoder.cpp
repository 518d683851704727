#include "models/hunyuan_video/vae_encoder.h"

#include <algorithm>
#include <utility>

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kColours = 3;

}  // namespace

Downsample::Downsample(const Weights& w, int64_t level, const VaeConfig& c)
    : space_stride(c.doubles_space(level) ? 2 : 1),
      time_stride(c.doubles_time(level) ? 2 : 1),
      conv(causal_conv(w / "conv", c.block_out_channels[level], c.block_out_channels[level])) {}

Frames Downsample::operator()(const Frames& x) const {
  return convolve_strided(x, conv.weight, conv.bias, conv.around, time_stride, space_stride);
}

DownBlock::DownBlock(const Weights& w, int64_t level, const VaeConfig& c) {
  const auto out = c.block_out_channels[level];
  for (int64_t i = 0; i < c.layers_per_block; ++i) {
    const auto in = i > 0 ? out : c.block_out_channels[std::max<int64_t>(level - 1, 0)];
    resnets.push_back(resnet_block(w / "resnets" / i, in, out, c));
  }
  if (c.doubles_space(level) || c.doubles_time(level)) downsample.emplace(w / "downsamplers" / 0, level, c);
}

VaeEncoder::VaeEncoder(const Weights& w, const VaeConfig& c)
    : config_(c),
      conv_in_(causal_conv(w / "encoder" / "conv_in", kColours, c.block_out_channels[0])),
      mid_block_(mid_block(w / "encoder" / "mid_block", c)),
      conv_out_(normed_conv(w / "encoder" / "conv_norm_out", w / "encoder" / "conv_out", c.block_out_channels.back(),
                            2 * c.latent_channels, c)),
      quant_conv_(w / "quant_conv", 2 * c.latent_channels, 2 * c.latent_channels) {
  for (int64_t level = 0; level < c.levels(); ++level)
    down_blocks_.emplace_back(w / "encoder" / "down_blocks" / level, level, c);
}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() {
  return {{"decoder.*", "encoding needs no decoder"}, {"post_quant_conv.*", "it precedes the decoder"}};
}

Tensor VaeEncoder::encode(const Tensor& video, const Progress& progress) const {
  auto x = conv_in_(video);
  for (const auto& level : down_blocks_) {
    x = run_all(level.resnets, std::move(x), progress);
    progress.check();
    if (level.downsample) x = (*level.downsample)(std::move(x));
  }
  x = mid_block_(std::move(x), progress);
  progress.check();
  return quant_conv_(at::stack(conv_out_(std::move(x))));
}

Tensor VaeEncoder::operator()(const Tensor& video, bool tiling, const Progress& progress) const {
  const auto tiles = encoding(tiling_of_space(config_));
  const bool tiled = tiling && std::max(video.size(3), video.size(4)) > tiles.latent_size;
  const auto encode_tile = [&](const Tensor& tile) { return encode(tile, progress); };
  const auto frames = video[0].permute({1, 2, 3, 0}).contiguous();  // [F, H, W, 3]
  const auto moments = tiled ? in_tiles(frames, tiles, tiles, encode_tile) : encode_tile(frames);
  // The distribution's mode is its mean; the other channels are its spread.
  return moments.slice(3, 0, config_.latent_channels).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

int64_t encode_memory(const VaeConfig& c, int64_t height, int64_t width, bool tiling, int64_t element_size) {
  const auto picture = 2 * kColours * height * width;
  const auto tile = tiling_of_space(c).keep + tiling_of_space(c).blend;
  if (tiling) height = std::min(height, tile), width = std::min(width, tile);
  int64_t positions = height * width, most = 0, in = c.block_out_channels[0];
  for (int64_t level = 0; level < c.levels(); ++level) {
    // A level's input, its normed copy, what a convolution makes of it and that one's residual; the strided convolution
    // sees three copies of the frame.
    const auto out = c.block_out_channels[level];
    constexpr int64_t kTensors = 4, kTransformed = 27 + 16 * 3;  // elements of a weight and its Winograd transform
    most = std::max(most, (kTensors + 2 * kPast) * positions * std::max(in, out) + kTransformed * in * out);
    if (c.doubles_space(level)) positions /= 4;
    in = out;
  }
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (most + picture) * element_size + kScratch;
}

}  // namespace eav::hunyuan_video
