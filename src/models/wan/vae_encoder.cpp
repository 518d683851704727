#include "models/wan/vae_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

#include "vae/cascade.h"

namespace eav::wan {
namespace {

// The tiles of patches that are encoded. What the reference compares with a tile is a picture's pixels, of which a
// position of 2.2 is a patch: whatever makes more than one tile is cut.
TileGrid patch_grid(const VaeConfig& c) {
  auto tiling = encoding(Tiling::of_pixels(kTileSize, kTileStride, c.spatial_compression() / c.patch_size));
  if (c.patch_size > 1) tiling.longest_whole = tiling.latent_stride;
  return {.rows = tiling, .columns = tiling};
}

// Adds to every frame of `sum` the positions of `x` that it stands for, `time` frames and `space` along both axes,
// averaged until their channels are as many. The video's first frame stands alone, with zeros before it.
void add_averaged(Frames x, int64_t time, int64_t space, const Frames& sum) {
  if (std::ssize(x) % time != 0) x.insert(x.begin(), at::zeros_like(x[0]));
  for (int64_t t = 0; t < std::ssize(sum); ++t) {
    const Frames seen(x.begin() + t * time, x.begin() + (t + 1) * time);
    sum[t].add_(gathered(seen, space).unflatten(2, {sum[t].size(2), -1}).mean(3));
  }
}

}  // namespace

HalvingConv::HalvingConv(const Weights& w, int64_t channels, bool halves_time)
    : space{.conv = Conv3d::of_pictures(w / "resample" / 1, channels, channels, Border::kZeroAfter),
            .time_stride = 1,
            .space_stride = 2} {
  if (halves_time) time_conv.emplace(w / "time_conv", channels, channels);
}

Frames HalvingConv::operator()(Frames x, Pass& pass) const {
  x = space(std::move(x), pass);
  if (!time_conv) return x;
  Frames out;
  auto window = pass.history.take(&*time_conv);  // the last frame seen
  for (auto& frame : x) {
    window.push_back(std::move(frame));
    if (window.size() == 1) out.push_back(window[0].clone());  // the video's first
    if (window.size() < 3) continue;
    out.push_back((*time_conv)(window, 0, time_conv->weight.size(0)));
    window.erase(window.begin(), window.begin() + 2);
  }
  pass.history.leave(&*time_conv, std::move(window));
  return out;
}

Frames DownBlock::operator()(Frames x, Pass& pass) const {
  Frames input;
  if (is_residual)
    for (const auto& frame : x) input.push_back(frame.clone());  // blocks work in the memory of what they are given
  x = run_all(resnets, std::move(x), pass);
  pass.progress.check();
  if (downsample) x = (*downsample)(std::move(x), pass);
  if (is_residual) add_averaged(std::move(input), downsample && downsample->time_conv ? 2 : 1, downsample ? 2 : 1, x);
  return x;
}

VaeEncoder::VaeEncoder(const Weights& w, const VaeConfig& c)
    : config_(c),
      conv_in_(causal_conv(w / "encoder" / "conv_in", c.patch_channels(), c.base_dim)),
      mid_(w / "encoder" / "mid_block", c.base_dim * c.dim_mult.back()),
      conv_out_(normed_conv(w / "encoder" / "norm_out", w / "encoder" / "conv_out", c.base_dim * c.dim_mult.back(),
                            2 * c.z_dim)),
      quant_conv_(w / "quant_conv", 2 * c.z_dim, 2 * c.z_dim) {
  const auto blocks = w / "encoder" / "down_blocks";
  int64_t row = 0;  // in 2.1, all blocks and what halves their resolution stand in one
  auto in = c.base_dim;
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto out = c.base_dim * c.dim_mult[level];
    const bool halves = level + 1 < c.levels(), halves_time = halves && c.temperal_downsample[level];
    DownBlock block{.resnets = {}, .downsample = {}, .is_residual = c.is_residual};
    for (int64_t i = 0; i < c.num_res_blocks; ++i, in = out)
      block.resnets.push_back(resnet_block(c.is_residual ? blocks / level / "resnets" / i : blocks / row++, in, out));
    if (halves)
      block.downsample.emplace(c.is_residual ? blocks / level / "downsampler" : blocks / row++, out, halves_time);
    down_.push_back(std::move(block));
  }
}

std::vector<UnneededKey> VaeEncoder::unneeded_keys() {
  return {{"decoder.*", "encoding needs no decoder"}, {"post_quant_conv.*", "it precedes the decoder"}};
}

Tensor VaeEncoder::moments(const Tensor& patches, const std::function<void(int64_t frames)>& encoded,
                           const Progress& progress) const {
  Pass pass{.progress = progress};
  std::vector<Cascade::Stage> stages{[&](Frames x, Pass& on) {
    const auto take = [&](int64_t t) { return std::move(x[t]); };
    encoded(std::ssize(x));
    return conv_in_(std::ssize(x), positions_of(x[0]), take, on);
  }};
  for (const auto& block : down_) stages.emplace_back(std::cref(block));
  stages.emplace_back([&](Frames x, Pass& on) { return conv_out_(mid_(std::move(x), on), on); });
  Frames latents;
  Cascade(
      std::move(stages), [&](Frames x) { std::ranges::move(x, std::back_inserter(latents)); }, pass)
      .feed(patches.unbind(), /*last=*/true);
  return quant_conv_(joined(latents));
}

Tensor VaeEncoder::encode(const Tensor& video, bool tiling, Progress& progress) const {
  const auto frames = video.size(2);
  if (frames % VaeConfig::kTemporalCompression != 1)
    throw Error(fmt::format("a video of {} frames is to be encoded, and Wan's VAE takes 4k + 1", frames));
  Frames pictures;
  for (int64_t t = 0; t < frames; ++t)
    pictures.push_back(patches_of(video[0].select(1, t).permute({1, 2, 0}), config_.patch_size));
  const auto patches = at::stack(pictures);  // [F, H / patch, W / patch, patch_channels]

  const auto grid = tiling ? std::optional(patch_grid(config_)) : std::nullopt;
  int64_t done = 0;
  const auto total = frames * (grid ? grid->tiles(patches.size(1), patches.size(2)) : 1);
  const auto encode_tile = [&](const Tensor& tile) {
    return moments(tile, [&](int64_t more) { progress.step(done += more, total); }, progress);
  };
  const auto encoded = in_tiles(patches, grid, encode_tile);  // [f, h, w, 2C]
  // The distribution's mode is its mean; the other channels are its spread.
  const auto mean = encoded.slice(3, 0, config_.z_dim).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
  return (mean - of_channels(config_.latents_mean, mean)) / of_channels(config_.latents_std, mean);
}

}  // namespace eav::wan
