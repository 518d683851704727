#include "models/wan/vae.h"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "vae/cascade.h"

namespace eav::wan {
namespace {

// The tiles of latents: to positions, of which a patch is one.
TileGrid tile_grid(const VaeConfig& c) {
  auto tiling = Tiling::of_pixels(kTileSize, kTileStride, c.spatial_compression());
  tiling.keep = kTileStride / c.patch_size;
  tiling.blend = kTileSize / c.patch_size - tiling.keep;
  return {.rows = tiling, .columns = tiling};
}

// Doubles height and width, and with `time` 2 the frames, to the nearest, and repeats the channels until there are
// enough. Adds that to `sum`, which lacks the first frame's earlier half where it begins the video.
void add_enlarged(const Frames& x, int64_t time, const Frames& sum) {
  const auto height = x[0].size(0), width = x[0].size(1), channels = sum[0].size(2);
  const auto repeats = channels * time * 4 / x[0].size(2);
  auto to = std::ssize(sum) - time * std::ssize(x);  // -1 or 0
  for (const auto& frame : x)
    for (const auto& half : channels_to_positions(frame.repeat_interleave(repeats, 2), time, 2))
      if (to++ >= 0) sum[to - 1].view({height, 2, width, 2, channels}).add_(half);
}

}  // namespace

// ---- layers ---------------------------------------------------------------------------------------------------------

Upsample::Upsample(const Weights& w, int64_t in, int64_t out, bool doubles_time)
    : conv(Conv3d::of_pictures(w / "resample" / 1, in, out)) {
  if (doubles_time) time_conv.emplace(w / "time_conv", in, 2 * in);
}

Frames Upsample::operator()(Frames x, Pass& pass) const {
  Frames out;
  const auto enlarge = [&](const Frames& frames) {
    const auto made = empty_frames(std::ssize(frames),
                                   {2 * frames[0].size(0), 2 * frames[0].size(1), conv.weight.size(0)}, frames[0]);
    convolve(frames, conv.weight, conv.bias, made, conv.around.border);
    std::ranges::copy(made, std::back_inserter(out));
  };
  const auto frames = std::ssize(x), at_once = frames_at_once(frames, 4 * positions_of(x[0]));
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  if (!time_conv) {
    Frames none;
    walk(frames, at_once, take, conv.around, none,
         [&](std::span<const Tensor> window, int64_t) { enlarge({window.begin(), window.end()}); });
    return out;
  }

  auto past = pass.history.take(&*time_conv);
  int64_t first = 0;
  if (past.empty()) {  // the video's first frame stays one, and those after it see zeros in its place
    past.assign(2, at::zeros_like(x[0]));
    enlarge({take(first++)});
  }
  const auto channels = conv.weight.size(1);
  walk(
      frames - first, std::max<int64_t>(at_once / 2, 1), [&](int64_t t) { return take(first + t); },
      {.past = 2, .future = 0, .border = Border::kZero}, past,
      [&](std::span<const Tensor> window, int64_t) {
        Frames halves;
        for (size_t t = 0; t + 2 < window.size(); ++t)
          for (const auto begin : {int64_t{0}, channels})
            halves.push_back((*time_conv)(window.subspan(t, 3), begin, begin + channels));
        enlarge(halves);
      });
  pass.history.leave(&*time_conv, std::move(past));
  return out;
}

UpBlock::UpBlock(const Weights& w, int64_t level, int64_t in, int64_t out, const VaeConfig& c)
    : resnets(read_resnets(w / "resnets", c.num_res_blocks + 1, in, out, resnet_block)),
      is_residual(c.is_residual && level + 1 < c.levels()) {
  if (level + 1 == c.levels()) return;
  const bool doubles_time = c.temperal_downsample[c.levels() - 2 - level];
  if (c.is_residual)
    upsample.emplace(w / "upsampler", out, out, doubles_time);
  else
    upsample.emplace(w / "upsamplers" / 0, out, out / 2, doubles_time);
}

Frames UpBlock::operator()(Frames x, Pass& pass) const {
  Frames input;
  if (is_residual)
    for (const auto& frame : x) input.push_back(frame.clone());  // blocks work in the memory of what they are given
  x = run_all(resnets, std::move(x), pass);
  pass.progress.check();
  if (upsample) x = (*upsample)(std::move(x), pass);
  if (is_residual) add_enlarged(input, upsample->time_conv ? 2 : 1, x);
  return x;
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(causal_conv(w / "conv_in", c.z_dim, c.decoder_base_dim * c.dim_mult.back())),
      mid(w / "mid_block", c.decoder_base_dim * c.dim_mult.back()),
      conv_out(normed_conv(w / "norm_out", w / "conv_out", c.decoder_base_dim * c.dim_mult[0], c.patch_channels())) {
  auto in = conv_in.weight.size(0);
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto out = c.decoder_base_dim * c.dim_mult[c.levels() - 1 - level];
    up.emplace_back(w / "up_blocks" / level, level, in, out, c);
    in = c.is_residual ? out : out / 2;
  }
}

Tensor Decoder::operator()(const Tensor& z, const VaeConfig& c, const Progress& progress,
                           const std::function<void(int64_t frames)>& decoded) const {
  Pass pass{.progress = progress};
  std::vector<Cascade::Stage> stages{[&](const Frames& x, Pass& on) { return mid(conv_in(at::stack(x), on), on); }};
  for (const auto& block : up) stages.emplace_back(std::cref(block));
  stages.emplace_back([&](Frames x, Pass& on) { return conv_out(std::move(x), on); });

  const auto scale = c.spatial_compression() / c.patch_size;
  const auto video =
      at::empty({c.video_frames(z.size(0)), scale * z.size(1), scale * z.size(2), c.patch_channels()}, z.options());
  int64_t done = 0;
  const auto keep = [&](const Frames& frames) {
    for (const auto& frame : frames) video[done++].copy_(frame);
    decoded(std::ssize(frames));
  };
  Cascade(std::move(stages), keep, pass).feed(z.unbind(), /*last=*/true);
  return video;
}

// ---- decoding -------------------------------------------------------------------------------------------------------

Vae::Vae(const Weights& w, const VaeConfig& c)
    : config_(c), post_quant_conv_(w / "post_quant_conv", c.z_dim, c.z_dim), decoder_(w / "decoder", c) {}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"encoder.*", "decoding needs no encoder"}, {"quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, bool tiling, Progress& progress) const {
  const auto batch = latents.size(0), height = latents.size(3), width = latents.size(4);
  const auto grid = tiling ? std::optional(tile_grid(config_)) : std::nullopt;
  const auto frames = config_.video_frames(latents.size(2)), scale = config_.spatial_compression();
  int64_t done = 0;
  const auto total = batch * frames * (grid ? grid->tiles(height, width) : 1);
  const auto decode_tile = [&](const Tensor& z) {
    return decoder_(post_quant_conv_(z), config_, progress, [&](int64_t more) { progress.step(done += more, total); });
  };
  const auto encoded = latents * of_channels(config_.latents_std, latents) + of_channels(config_.latents_mean, latents);
  const auto video = at::empty({batch, VaeConfig::kColours, frames, scale * height, scale * width}, latents.options());
  for (int64_t b = 0; b < batch; ++b) {
    const auto z = encoded[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    const auto decoded = in_tiles(z, grid, decode_tile);           // [frames, H / patch, W / patch, patch_channels]
    const auto to = video[b].permute({1, 2, 3, 0});                // [frames, H, W, 3]
    for (int64_t t = 0; t < frames; ++t) to[t].copy_(from_patches(decoded[t], config_.patch_size).clamp(-1, 1));
  }
  return video;
}

}  // namespace eav::wan
