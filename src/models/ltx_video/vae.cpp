#include "models/ltx_video/vae.h"

#include <iterator>
#include <span>
#include <utility>

namespace eav::ltx_video {
namespace {

constexpr int64_t kUpsampled = 8;  // positions that upsampling makes of one: two frames of two by two

}  // namespace

// ---- layers ---------------------------------------------------------------------------------------------------------

DepthToSpace::DepthToSpace(const Weights& w, const VaeLevel& level, const VaeConfig& c)
    : conv(conv3d(w / "conv", level.out * level.upsample_factor, level.out * kUpsampled, c.decoder_causal)),
      residual(level.upsample_residual) {}

Frames DepthToSpace::operator()(Frames x, Pass&) const {
  const auto frames = std::ssize(x), height = x[0].size(0), width = x[0].size(1);
  const auto channels = conv.weight.size(0) / kUpsampled;
  Frames out;
  const auto upsample = [&](std::span<const Tensor> window, int64_t first) {
    const auto seen = window.subspan(conv.around.past, std::ssize(window) - conv.around.past - conv.around.future);
    const auto made = empty_frames(std::ssize(seen), {height, width, channels * kUpsampled}, seen[0]);
    convolve(window, conv.weight, conv.bias, made, conv.around.border);
    for (size_t i = 0; i < made.size(); ++i) {
      const auto halves = channels_to_positions(made[i], /*time=*/2, /*space=*/2);  // [H, 2, W, 2, C] each
      const auto inputs = residual ? channels_to_positions(seen[i], 2, 2) : Frames();
      for (size_t half = first + i == 0 ? 1 : 0; half < 2; ++half) {
        const auto frame = at::empty(halves[half].sizes(), made[i].options());
        frame.copy_(halves[half]);
        if (residual)  // its channels are repeated until there are enough
          frame.unflatten(4, {-1, inputs[half].size(4)}).add_(inputs[half].unsqueeze(4));
        out.push_back(frame.view({2 * height, 2 * width, channels}));
      }
    }
  };
  Frames past;
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  walk(frames, frames_at_once(frames, height * width), take, conv.around, past, upsample);
  return out;
}

Block::Block(const Weights& w, const VaeLevel& level, const VaeConfig& c) {
  const ResnetOptions options{c.decoder_causal, c.resnet_norm_eps, c.timestep_conditioning, level.inject_noise};
  if (level.in != level.out) conv_in.emplace(w / "conv_in", level.in, level.out, options);
  if (c.timestep_conditioning) time_embedder.emplace(w / "time_embedder", 4, level.out);
  if (level.upsamples) upsample.emplace(w / "upsamplers" / 0, level, c);
  resnets = resnet_blocks(w, level.layers, level.out, options);
}

Frames Block::operator()(Frames x, Pass& pass, const std::optional<Tensor>& timestep,
                         const std::optional<at::Generator>& generator) const {
  std::optional<Tensor> temb;  // [4, C]
  if (time_embedder) temb = (*time_embedder)(*timestep, x[0].scalar_type());
  if (conv_in) x = (*conv_in)(std::move(x), pass, temb, generator);
  pass.progress.check();
  if (upsample) x = (*upsample)(std::move(x), pass);
  return run_all(resnets, std::move(x), pass, temb, generator);
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(conv3d(w / "conv_in", c.latent_channels, c.levels[0].in, c.decoder_causal)),
      conv_out(normed_conv(w / "conv_out", c.levels.back().out, c.out_channels * c.patch_size * c.patch_size,
                           c.decoder_causal)),
      patch_size(c.patch_size) {
  const auto mid = w / "mid_block", up = w / "up_blocks";
  for (size_t i = 0; i < c.levels.size(); ++i)
    blocks.emplace_back(i == 0 ? mid : up / static_cast<int64_t>(i - 1), c.levels[i], c);
  if (!c.timestep_conditioning) return;
  time_embedder.emplace(w / "time_embedder", 2, c.levels.back().out);
  scale_shift_table = w.load("scale_shift_table", {2, c.levels.back().out});
  timestep_scale_multiplier = w.load("timestep_scale_multiplier");
}

Tensor Decoder::operator()(const Tensor& z, const std::optional<Tensor>& timestep,
                           const std::optional<at::Generator>& generator, const Progress& progress) const {
  Pass pass{.progress = progress};
  const auto type = z.scalar_type();
  std::optional<Tensor> scaled;  // timestep
  if (timestep_scale_multiplier) scaled = timestep->to(type) * timestep_scale_multiplier->to(type);
  auto x = run_all(blocks, conv_in(z, pass), pass, scaled, generator);
  progress.check();
  std::optional<ChannelAffine> affine;
  if (time_embedder) affine = modulation((*time_embedder)(*scaled, type) + scale_shift_table->to(type));
  x = conv_out(std::move(x), pass, affine);
  for (auto& frame : x) frame = from_patches(frame, patch_size);  // [h, w, 3 * patch * patch] -> [H, W, 3]
  return joined(x);
}

// ---- decoding -------------------------------------------------------------------------------------------------------

LatentStatistics::LatentStatistics(const Weights& w, const VaeConfig& c)
    : mean(w.load("latents_mean", {c.latent_channels})),
      std(w.load("latents_std", {c.latent_channels})),
      scaling_factor(c.scaling_factor) {}

Tensor LatentStatistics::denormalize(const Tensor& latents) const {
  const auto of_channels = [&](const Tensor& t) { return t.to(latents.options()).view({1, -1, 1, 1, 1}); };
  return latents * of_channels(std) / scaling_factor + of_channels(mean);
}

Tensor LatentStatistics::normalize(const Tensor& latents) const {
  const auto of_channels = [&](const Tensor& t) { return t.to(latents.options()).view({1, -1, 1, 1, 1}); };
  return (latents - of_channels(mean)) * scaling_factor / of_channels(std);
}

std::vector<UnneededKey> LatentStatistics::unneeded_keys() {
  return {{"encoder.*", "statistics need no encoder"}, {"decoder.*", "statistics need no decoder"}};
}

Vae::Vae(const Weights& w, const VaeConfig& c) : config_(c), statistics_(w, c), decoder_(w / "decoder", c) {}

std::vector<UnneededKey> Vae::unneeded_keys() { return {{"encoder.*", "decoding needs no encoder"}}; }

Tensor Vae::decode(const Tensor& latents, const std::optional<Tensor>& timestep, const Tiles& tiles,
                   std::optional<at::Generator> generator, Progress& progress) const {
  if (config_.timestep_conditioning && !timestep) throw Error("the VAE is told a timestep, and none is given");
  if (config_.injects_noise() && !generator) throw Error("the VAE injects noise, and no generator is given");
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto grid = tile_grid(config_, tiles);
  const auto time = tiling_of_time(config_, tiles);
  const auto scale = config_.spatial_compression();
  const auto video = at::empty(
      {batch, config_.out_channels, config_.video_frames(frames), scale * height, scale * width}, latents.options());
  int64_t done = 0;
  const auto total = batch * (grid ? grid->tiles(height, width) : 1) * (time ? time->parts(frames) : 1);
  for (int64_t b = 0; b < batch; ++b) {
    const auto noise = generator && b + 1 < batch ? std::optional(generator->clone()) : generator;
    const auto told = timestep ? std::optional(timestep->slice(0, b, b + 1)) : std::nullopt;  // [1]
    const auto decode_tile = [&](const Tensor& z) {
      const auto decoded = decoder_(z, told, noise, progress);
      progress.step(++done, total);
      return decoded;
    };
    const auto decode_part = [&](const Tensor& z) { return in_tiles(z, grid, decode_tile); };
    const auto z = latents[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    in_parts(z, time, DropFrame::kLast, video[b].permute({1, 2, 3, 0}), decode_part);
  }
  return video;
}

}  // namespace eav::ltx_video
