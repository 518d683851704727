#include "models/ltx_video/vae_encoder.h"

#include <algorithm>
#include <utility>

#include "nn/tiling.h"

namespace eav::ltx_video {
namespace {

// The positions of x [H, W, C], `stride` along each axis, as channels: [H / stride, W / stride, C, stride, stride].
Tensor gather(const Tensor& x, int64_t stride) {
  return x.unflatten(0, {-1, stride}).unflatten(2, {-1, stride}).permute({0, 2, 4, 1, 3});
}

}  // namespace

Frames StridedConv::operator()(const Frames& x) const {
  return convolve_strided(x, conv.weight, conv.bias, conv.around, /*time_stride=*/2, /*space_stride=*/2);
}

Frames Rearrange::operator()(const Frames& x) const {
  // With a stride in time the first frame comes twice, so that it halves with itself.
  const auto input = [&](int64_t t) { return x[std::max<int64_t>(t - (time_stride - 1), 0)]; };
  const auto frames = std::ssize(x) + time_stride - 1;
  const auto made = convolve(conv.weight, conv.bias, conv.around, frames, positions_of(x[0]), input);
  Frames out;
  for (int64_t t = 0; t < frames; t += time_stride) {
    const auto group = [&](const auto& frame) {  // [h, w, C, time_stride, stride, stride]
      Frames gathered;
      for (int64_t i = 0; i < time_stride; ++i) gathered.push_back(gather(frame(t + i), space_stride));
      return at::stack(gathered, 3);
    };
    const auto y = group([&](int64_t i) { return made[i]; }).flatten(2);  // [h, w, out]
    const auto residual = group(input).flatten(2).unflatten(2, {y.size(2), -1}).mean(3);
    out.push_back(y + residual);
  }
  return out;
}

DownBlock::DownBlock(const Weights& w, const VaeEncoderLevel& level, const ResnetOptions& options) {
  for (int64_t i = 0; i < level.layers; ++i) resnets.emplace_back(w / "resnets" / i, level.in, level.in, options);
  const auto down = w / "downsamplers" / 0;
  const auto time = level.time_stride(), space = level.space_stride();
  if (level.downsample == Downsample::convolution)
    strided.emplace(StridedConv{Conv3d(down, level.in, level.in, options.causal)});
  if (level.rearranges())
    rearrange.emplace(
        Rearrange{Conv3d(down / "conv", level.in, level.out / (time * space * space), options.causal), time, space});
  else if (level.in != level.out)
    conv_out.emplace(w / "conv_out", level.in, level.out, options);
}

VaeEncoder::VaeEncoder(const Weights& w, const VaeEncoderConfig& e)
    : config_(e.vae),
      latents_mean_(w.load("latents_mean", {config_.latent_channels})),
      latents_std_(w.load("latents_std", {config_.latent_channels})),
      conv_in_(w / "encoder" / "conv_in", config_.out_channels * config_.patch_size * config_.patch_size,
               e.levels[0].in, e.causal),
      conv_out_{{w / "encoder" / "conv_out", e.levels.back().out, config_.latent_channels + 1, e.causal}} {
  const ResnetOptions options{e.causal, config_.resnet_norm_eps};
  const auto down = w / "encoder" / "down_blocks", mid = w / "encoder" / "mid_block" / "resnets";
  for (size_t i = 0; i < e.levels.size(); ++i)
    down_blocks_.emplace_back(down / static_cast<int64_t>(i), e.levels[i], options);
  for (int64_t i = 0; i < e.mid_layers; ++i)
    mid_block_.emplace_back(mid / i, e.levels.back().out, e.levels.back().out, options);
}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() { return {{"decoder.*", "encoding needs no decoder"}}; }

Tensor VaeEncoder::encode(const Tensor& video, const Progress& progress) const {
  // Columns of a patch are the slower axis of its channels.
  const auto patch = [&](int64_t t) { return gather(video[t], config_.patch_size).transpose(3, 4).flatten(2); };
  const auto patches = video.size(1) * video.size(2) / (config_.patch_size * config_.patch_size);
  auto x = convolve(conv_in_.weight, conv_in_.bias, conv_in_.around, video.size(0), patches, patch);
  const auto run = [&](const auto& layer) {
    progress.check();
    x = layer(std::move(x));
  };
  for (const auto& block : down_blocks_) {
    for (const auto& resnet : block.resnets) run(resnet);
    if (block.strided) run(*block.strided);
    if (block.rearrange) run(*block.rearrange);
    if (block.conv_out) run(*block.conv_out);
  }
  for (const auto& resnet : mid_block_) run(resnet);
  progress.check();
  return at::stack(conv_out_(x, {}, [&](int64_t t) { return std::move(x[t]); }));
}

LatentsDistribution VaeEncoder::operator()(const Tensor& video, const Tiles& tiles, const Progress& progress) const {
  const auto pixels = encoding(tiling_of(config_)), time = encoding(tiling_of_time(config_));
  const bool in_space = tiles.space && std::max(video.size(3), video.size(4)) > pixels.latent_size;
  const auto latent_frames = (video.size(2) - 1) / config_.temporal_compression() + 1;
  const auto encode_tile = [&](const Tensor& tile) { return encode(tile, progress); };
  const auto encode_picture = [&](const Tensor& x) {
    return in_space ? in_tiles(x, pixels, pixels, encode_tile) : encode_tile(x);
  };
  std::vector<Tensor> moments;
  for (const auto& one : video.unbind()) {
    const auto frames = one.permute({1, 2, 3, 0}).contiguous();  // [F, H, W, 3]
    const auto encoded = tiles.time ? in_parts(frames, time, /*drop_first=*/true, latent_frames, encode_picture)
                                    : encode_picture(frames);
    moments.push_back(encoded.permute({3, 0, 1, 2}));
  }
  const auto channels = config_.latent_channels;
  const auto encoded = at::stack(moments);  // [B, C + 1, F, h, w]
  const auto of_channels = [&](const Tensor& t) { return t.to(encoded.options()).view({1, -1, 1, 1, 1}); };
  const auto std = (encoded.narrow(1, channels, 1).clamp(-30, 20) * 0.5).exp();
  return {(encoded.narrow(1, 0, channels) - of_channels(latents_mean_)) / of_channels(latents_std_),
          std / of_channels(latents_std_)};
}

int64_t encode_memory(const VaeEncoderConfig& e, int64_t frames, int64_t height, int64_t width, const Tiles& tiles,
                      int64_t element_size) {
  const auto& c = e.vae;
  const auto video = frames * height * width * c.out_channels;
  const auto tile = tiling_of(c).latent_size * c.spatial_compression();
  if (tiles.time) frames = std::min(frames, encoding(tiling_of_time(c)).latent_size + 1);
  if (tiles.space) height = std::min(height, tile), width = std::min(width, tile);
  int64_t positions = height * width / (c.patch_size * c.patch_size), most = 0;
  for (const auto& level : e.levels) {
    // A level's input, what a resnet block makes of it, and what its convolution holds at once.
    const auto at_once = (std::min(frames, frames_at_once(frames, positions)) + 3) * positions;
    most = std::max(most, (2 * frames * positions + 2 * at_once) * std::max(level.in, level.out) +
                              (27 + 16 * 3) * level.in * level.out);
    frames = (frames - 1) / level.time_stride() + 1;
    positions /= level.space_stride() * level.space_stride();
  }
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (most + 2 * video) * element_size + kScratch;
}

}  // namespace eav::ltx_video
