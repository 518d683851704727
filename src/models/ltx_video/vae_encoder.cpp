#include "models/ltx_video/vae_encoder.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace eav::ltx_video {

Frames SpaceToDepth::operator()(Frames x, Pass& pass) const {
  // With a stride in time the first frame comes twice, so that it halves with itself.
  const auto input = [&](int64_t t) { return x[std::max<int64_t>(t - (time_stride - 1), 0)]; };
  const auto frames = std::ssize(x) + time_stride - 1;
  const auto made = conv(frames, positions_of(x[0]), input, pass);
  Frames out;
  for (int64_t t = 0; t < frames; t += time_stride) {
    const auto group = [&](const auto& frame) {  // [h, w, C * time_stride * stride * stride]
      Frames frames_of_one;
      for (int64_t i = 0; i < time_stride; ++i) frames_of_one.push_back(frame(t + i));
      return gathered(frames_of_one, space_stride);
    };
    const auto y = group([&](int64_t i) { return made[i]; });  // [h, w, out]
    out.push_back(y + group(input).unflatten(2, {y.size(2), -1}).mean(3));
  }
  return out;
}

DownBlock::DownBlock(const Weights& w, const VaeEncoderLevel& level, const ResnetOptions& options)
    : resnets(resnet_blocks(w, level.layers, level.in, options)) {
  const auto down = w / "downsamplers" / 0;
  const auto time = level.time_stride(), space = level.space_stride();
  if (level.halving == Halving::convolution)
    downsample = Downsample{conv3d(down, level.in, level.in, options.causal), time, space};
  if (level.rearranges())
    space_to_depth =
        SpaceToDepth{conv3d(down / "conv", level.in, level.out / (time * space * space), options.causal), time, space};
  else if (level.in != level.out)
    conv_out.emplace(w / "conv_out", level.in, level.out, options);
}

Frames DownBlock::operator()(Frames x, Pass& pass) const {
  x = run_all(resnets, std::move(x), pass);
  pass.progress.check();
  if (downsample) x = (*downsample)(std::move(x), pass);
  if (space_to_depth) x = (*space_to_depth)(std::move(x), pass);
  if (conv_out) x = (*conv_out)(std::move(x), pass);
  return x;
}

VaeEncoder::VaeEncoder(const Weights& w, const VaeEncoderConfig& e)
    : config_(e.vae),
      latents_mean_(w.load("latents_mean", {config_.latent_channels})),
      latents_std_(w.load("latents_std", {config_.latent_channels})),
      conv_in_(conv3d(w / "encoder" / "conv_in", config_.out_channels * config_.patch_size * config_.patch_size,
                      e.levels[0].in, e.causal)),
      conv_out_(normed_conv(w / "encoder" / "conv_out", e.levels.back().out, config_.latent_channels + 1, e.causal)) {
  const ResnetOptions options{e.causal, config_.resnet_norm_eps};
  for (size_t i = 0; i < e.levels.size(); ++i)
    down_blocks_.emplace_back(w / "encoder" / "down_blocks" / static_cast<int64_t>(i), e.levels[i], options);
  mid_block_ = resnet_blocks(w / "encoder" / "mid_block", e.mid_layers, e.levels.back().out, options);
}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() { return {{"decoder.*", "encoding needs no decoder"}}; }

Tensor VaeEncoder::encode(const Tensor& video, const Progress& progress) const {
  Pass pass{.progress = progress};
  const auto size = config_.patch_size;
  const auto patches = [&](int64_t t) { return patches_of(video[t], size); };
  auto x = conv_in_(video.size(0), video.size(1) * video.size(2) / (size * size), patches, pass);
  x = run_all(down_blocks_, std::move(x), pass);
  x = run_all(mid_block_, std::move(x), pass);
  progress.check();
  return joined(conv_out_(std::move(x), pass, std::nullopt));
}

LatentsDistribution VaeEncoder::operator()(const Tensor& video, const Tiles& tiles, const Progress& progress) const {
  const auto channels = config_.latent_channels;
  auto grid = tile_grid(config_, tiles);
  auto time = tiling_of_time(config_, tiles);
  if (grid) grid = encoding(*grid);
  if (time) time = encoding(*time);
  const auto batch = video.size(0), scale = config_.spatial_compression();
  const auto latent_frames = (video.size(2) - 1) / config_.temporal_compression() + 1;
  const auto moments = at::empty({batch, latent_frames, video.size(3) / scale, video.size(4) / scale, channels + 1},
                                 video.options());  // [B, F, h, w, C + 1]
  const auto encode_tile = [&](const Tensor& tile) { return encode(tile, progress); };
  const auto encode_part = [&](const Tensor& part) { return in_tiles(part, grid, encode_tile); };
  for (int64_t b = 0; b < batch; ++b)
    in_parts(video[b].permute({1, 2, 3, 0}).contiguous(), time, DropFrame::kFirst, moments[b], encode_part);
  const auto encoded = moments.permute({0, 4, 1, 2, 3}).contiguous();  // [B, C + 1, F, h, w]
  const auto of_channels = [&](const Tensor& t) { return t.to(encoded.options()).view({1, -1, 1, 1, 1}); };
  const auto std = (encoded.narrow(1, channels, 1).clamp(-30, 20) * 0.5).exp();
  return {(encoded.narrow(1, 0, channels) - of_channels(latents_mean_)) / of_channels(latents_std_),
          std / of_channels(latents_std_)};
}

}  // namespace eav::ltx_video
