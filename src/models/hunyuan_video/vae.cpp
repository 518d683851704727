#include "models/hunyuan_video/vae.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kPartFrames = 16, kPartStride = 12;  // of a part of time, and from one to the next, in video frames

}  // namespace

Tiling tiling_of_time(const VaeConfig& c) {
  return Tiling::of_pixels(kPartFrames, kPartStride, c.temporal_compression_ratio);
}

// ---- layers ---------------------------------------------------------------------------------------------------------

CausalUpsample::CausalUpsample(const Weights& w, int64_t level, const VaeConfig& c)
    : doubles_space(c.doubles_space(level)),
      doubles_time(c.doubles_time(level)),
      conv(causal_conv(w / "conv", c.decoder_channels(level), c.decoder_channels(level))) {}

// The enlarged video is never made. In space the convolution reads each position as two by two. In time, frames 2t - 1
// and 2t both show x[t], and what they see are x[t - 1] and x[t] alone: one of them under two taps of the weight, which
// are added up.
Frames CausalUpsample::operator()(Frames x, Pass&) const {
  const auto frames = std::ssize(x), scale = int64_t{doubles_space ? 2 : 1};
  const auto height = scale * x[0].size(0), width = scale * x[0].size(1);
  const auto apply = [&](std::span<const Tensor> window, const Tensor& weight) {
    const auto out = empty_frames(std::ssize(window) + 1 - weight.size(2), {height, width, weight.size(0)}, window[0]);
    if (!out.empty()) convolve(window, weight, conv.bias, out, conv.around.border);
    return out;
  };
  Tensor odd, even;  // weights of two taps
  if (doubles_time) {
    const auto taps = conv.weight.to(x[0].scalar_type()).split(1, 2);  // [out, in, 1, 3, 3] each
    odd = at::cat({taps[0] + taps[1], taps[2]}, 2);
    even = at::cat({taps[0], taps[1] + taps[2]}, 2);
  }

  Frames out;
  const auto enlarge = [&](std::span<const Tensor> window, int64_t first) {
    if (!doubles_time) return void(std::ranges::move(apply(window, conv.weight), std::back_inserter(out)));
    const size_t alone = first == 0 ? 1 : 0;  // the first frame is not doubled
    const auto before = apply(window, odd), after = apply(window.subspan(alone), even);
    for (size_t i = 0; i < before.size(); ++i) {
      out.push_back(before[i]);
      if (i >= alone) out.push_back(after[i - alone]);
    }
  };
  auto around = conv.around;
  if (doubles_time) around.past = 1;
  Frames past;
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  walk(frames, frames_at_once(frames, height * width), take, around, past, enlarge);
  return out;
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(causal_conv(w / "conv_in", c.latent_channels, c.decoder_channels(0))),
      mid(mid_block(w / "mid_block", c)),
      conv_out(normed_conv(w / "conv_norm_out", w / "conv_out", c.block_out_channels[0], c.out_channels, c)) {
  auto in = c.decoder_channels(0);
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "up_blocks" / level;
    const auto out = c.decoder_channels(level);
    UpLevel added{resnet_blocks(block, c.layers_per_block + 1, in, out, c), {}};
    if (c.doubles_space(level) || c.doubles_time(level)) added.resample.emplace(block / "upsamplers" / 0, level, c);
    up.push_back(std::move(added));
    in = out;
  }
}

Tensor Decoder::operator()(const Tensor& z, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto x = mid(conv_in(z, pass), pass);
  for (const auto& level : up) x = level(std::move(x), pass);
  progress.check();
  return joined(conv_out(std::move(x), pass));
}

// ---- decoding -------------------------------------------------------------------------------------------------------

Vae::Vae(const Weights& w, const VaeConfig& c)
    : config_(c),
      post_quant_conv_(w / "post_quant_conv", c.latent_channels, c.latent_channels),
      decoder_(w / "decoder", c) {}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"encoder.*", "decoding needs no encoder"}, {"quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, bool tiling, Progress& progress) const {
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto grid = tiling ? std::optional(tile_grid(config_)) : std::nullopt;
  const auto time = tiling_of_time(config_);
  int64_t done = 0;
  const auto total = batch * time.parts(frames) * (grid ? grid->tiles(height, width) : 1);
  const auto decode_tile = [&](const Tensor& z) {
    const auto decoded = decoder_(post_quant_conv_(z), progress);
    progress.step(++done, total);
    return decoded;
  };
  const auto decode_part = [&](const Tensor& z) { return in_tiles(z, grid, decode_tile); };

  const auto scale = config_.spatial_compression();
  const auto video = at::empty(
      {batch, config_.out_channels, config_.video_frames(frames), scale * height, scale * width}, latents.options());
  for (int64_t b = 0; b < batch; ++b) {
    const auto z = latents[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    in_parts(z, time, DropFrame::kFirst, video[b].permute({1, 2, 3, 0}), decode_part);
  }
  return video;
}

}  // namespace eav::hunyuan_video
