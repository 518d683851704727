#include "models/ltx_video/vae_blocks.h"

#include <utility>

namespace eav::ltx_video {
namespace {

constexpr double kNormEps = 1e-8;  // of every norm but those before a shortcut

// A tile, and from one to the next, in pixels of the video; a part of time in its frames.
constexpr int64_t kTileSize = 512, kTileStride = 448;
constexpr int64_t kPartFrames = 16, kPartStride = 8;

}  // namespace

std::optional<TileGrid> tile_grid(const VaeConfig& c, const Tiles& tiles) {
  if (!tiles.space) return std::nullopt;
  const auto tiling = Tiling::of_pixels(kTileSize, kTileStride, c.spatial_compression());
  return TileGrid{.rows = tiling, .columns = tiling};
}

std::optional<Tiling> tiling_of_time(const VaeConfig& c, const Tiles& tiles) {
  if (!tiles.time) return std::nullopt;
  return Tiling::of_pixels(kPartFrames, kPartStride, c.temporal_compression());
}

Conv3d conv3d(const Weights& w, int64_t in, int64_t out, bool causal) {
  return {w / "conv", in, out, {.past = causal ? 2 : 1, .future = causal ? 0 : 1, .border = Border::kZero}};
}

NormedConv<RmsNormSilu> normed_conv(const Weights& w, int64_t in, int64_t out, bool causal) {
  return {{kNormEps}, conv3d(w, in, out, causal)};
}

TimeEmbedder::TimeEmbedder(const Weights& w, int64_t tables, int64_t channels)
    : timestep_embedder(w / "timestep_embedder", 256, tables * channels), tables(tables) {}

Tensor TimeEmbedder::operator()(const Tensor& timestep, at::ScalarType type) const {
  const auto sinusoids = timestep_sinusoids(timestep, 256, /*flip_sin_to_cos=*/true, /*freq_shift=*/0);
  return timestep_embedder(sinusoids.to(type)).view({tables, -1});
}

ChannelAffine modulation(const Tensor& table) { return {.scale = table[1] + 1, .shift = table[0]}; }

Resnet::Resnet(const Weights& w, int64_t in, int64_t out, const ResnetOptions& options)
    : conv1(normed_conv(w / "conv1", in, out, options.causal)),
      conv2(normed_conv(w / "conv2", out, out, options.causal)) {
  if (in != out) {
    norm3.emplace(w / "norm3", in, options.eps);
    conv_shortcut.emplace(w / "conv_shortcut" / "conv", in, out);
  }
  if (options.timestep_conditioning) scale_shift_table = w.load("scale_shift_table", {4, in});
  if (options.inject_noise) {
    per_channel_scale1 = w.load("per_channel_scale1", {in, 1, 1});
    per_channel_scale2 = w.load("per_channel_scale2", {in, 1, 1});
  }
}

Frames Resnet::operator()(Frames x, Pass& pass, const std::optional<Tensor>& temb,
                          const std::optional<at::Generator>& generator) const {
  std::optional<ChannelAffine> affine1, affine2;
  if (scale_shift_table) {
    const auto table = *temb + scale_shift_table->to(temb->scalar_type());
    affine1 = modulation(table.slice(0, 0, 2));
    affine2 = modulation(table.slice(0, 2, 4));
  }
  // One picture of noise, the same in every frame.
  const auto inject_noise = [&](const Frames& frames, const std::optional<Tensor>& per_channel_scale) {
    if (!per_channel_scale) return;
    const auto options = frames[0].options();
    const auto noise = draw_noise({frames[0].size(0), frames[0].size(1)}, generator, options);
    const auto scale = per_channel_scale->to(options.dtype()).flatten();
    for (const auto& frame : frames) frame.addcmul_(noise.unsqueeze(2), scale);
  };
  Residual residual{.norm1 = [&](const Frames& frames) { return conv1.norm(frames, affine1); },
                    .conv1 = conv1.conv,
                    .norm2 =
                        [&](const Frames& frames) {
                          inject_noise(frames, per_channel_scale1);
                          return conv2.norm(frames, affine2);
                        },
                    .conv2 = conv2.conv,
                    .shortcut = {}};
  if (conv_shortcut) residual.shortcut = [&](const Tensor& frame) { return (*conv_shortcut)((*norm3)(frame)); };
  x = residual(std::move(x), pass);
  inject_noise(x, per_channel_scale2);
  return x;
}

std::vector<Resnet> resnet_blocks(const Weights& w, int64_t count, int64_t channels, const ResnetOptions& options) {
  return read_resnets(w / "resnets", count, channels, channels,
                      [&](const Weights& at, int64_t in, int64_t out) { return Resnet(at, in, out, options); });
}

}  // namespace eav::ltx_video
