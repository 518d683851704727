#include "models/ltx_video/vae.h"

#include <algorithm>
#include <span>
#include <utility>

#include "nn/rms_norm.h"
#include "nn/tiling.h"

namespace eav::ltx_video {
namespace {

constexpr double kNormEps = 1e-8;  // of every norm but those before a shortcut
constexpr int64_t kUpsampled = 8;  // positions that upsampling makes of one: two frames of two by two

// A tile, and from one to the next, in pixels of the video.
constexpr int64_t kTileSize = 512, kTileStride = 448;
constexpr int64_t kTileFrames = 16, kTileStrideFrames = 8;

// Frame `half` of the two whose positions lie in the channels of x [H, W, 8 C], as a view [H, 2, W, 2, C].
Tensor spread(const Tensor& x, int64_t half) {
  return x.unflatten(2, {-1, 2, 2, 2}).select(3, half).permute({0, 3, 1, 4, 2});
}

}  // namespace

Tiling tiling_of(const VaeConfig& c) {
  return {.latent_size = kTileSize / c.spatial_compression(),
          .latent_stride = kTileStride / c.spatial_compression(),
          .keep = kTileStride,
          .blend = kTileSize - kTileStride};
}

Tiling tiling_of_time(const VaeConfig& c) {
  return {.latent_size = kTileFrames / c.temporal_compression(),
          .latent_stride = kTileStrideFrames / c.temporal_compression(),
          .keep = kTileStrideFrames,
          .blend = kTileFrames - kTileStrideFrames};
}

Tensor in_parts(const Tensor& x, const Tiling& tiling, bool drop_first, int64_t frames,
                const std::function<Tensor(const Tensor&)>& code) {
  if (x.size(0) <= tiling.latent_size) return code(x);
  std::vector<Tensor> parts;
  Tensor before;
  for (int64_t first = 0; first < x.size(0); first += tiling.latent_stride) {
    auto part = code(x.slice(0, first, first + tiling.latent_size + 1));
    if (first > 0) {
      part = part.narrow(0, drop_first ? 1 : 0, part.size(0) - 1);
      blend(before, part, 0, tiling.blend);
    }
    parts.push_back(part.slice(0, 0, tiling.keep + (first == 0 ? 1 : 0)));
    before = part;
  }
  return at::cat(parts).slice(0, 0, frames);
}

// ---- layers ---------------------------------------------------------------------------------------------------------

Conv3d::Conv3d(const Weights& w, int64_t in, int64_t out, bool causal)
    : weight(w.load("conv.weight", {out, in, 3, 3, 3})),
      bias(w.optional("conv.bias", {out})),
      around{.past = causal ? 2 : 1, .future = causal ? 0 : 1, .border = Border::kZero} {}

Frames NormedConv::operator()(const Frames& x, const std::optional<Tensor>& modulation, const Place& place,
                              Frames sum) const {
  const auto normed = [&](int64_t t) {
    const auto frame = x[t];
    auto out = place(t);
    at::mul_out(out, frame, inverse_rms(frame, kNormEps));
    if (modulation) at::addcmul_out(out, (*modulation)[0], out, (*modulation)[1] + 1);
    return at::silu_(out);
  };
  return convolve(conv.weight, conv.bias, conv.around, std::ssize(x), positions_of(x[0]), normed, std::move(sum));
}

TimeEmbedder::TimeEmbedder(const Weights& w, int64_t tables, int64_t channels)
    : timestep_embedder(w / "timestep_embedder", 256, tables * channels), tables(tables) {}

Tensor TimeEmbedder::operator()(const Tensor& timestep, at::ScalarType type) const {
  const auto sinusoids = timestep_sinusoids(timestep, 256, /*flip_sin_to_cos=*/true, /*freq_shift=*/0);
  return timestep_embedder(sinusoids.to(type)).view({tables, -1});
}

ResnetBlock::ResnetBlock(const Weights& w, int64_t in, int64_t out, const ResnetOptions& options)
    : conv1{{w / "conv1", in, out, options.causal}}, conv2{{w / "conv2", out, out, options.causal}} {
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

Frames ResnetBlock::operator()(Frames x, const std::optional<Tensor>& temb,
                               const std::optional<at::Generator>& generator) const {
  std::optional<Tensor> modulation1, modulation2;  // [2, C]
  if (scale_shift_table) {
    const auto modulation = *temb + scale_shift_table->to(temb->scalar_type());
    modulation1 = modulation.slice(0, 0, 2);
    modulation2 = modulation.slice(0, 2, 4);
  }
  // One picture of noise, the same in every frame.
  const auto inject_noise = [&](const Frames& frames, const std::optional<Tensor>& per_channel_scale) {
    if (!per_channel_scale) return;
    const auto options = frames[0].options();
    const auto noise = at::randn({frames[0].size(0), frames[0].size(1)}, generator, options.device(at::kCPU));
    const auto scale = per_channel_scale->to(options.dtype()).flatten();
    for (const auto& frame : frames) frame.addcmul_(noise.to(options).unsqueeze(2), scale);
  };
  auto h = conv1(x, modulation1, [&](int64_t t) {
    return conv_shortcut ? std::exchange(x[t], (*conv_shortcut)((*norm3)(x[t]))) : at::empty_like(x[t]);
  });
  inject_noise(h, per_channel_scale1);
  x = conv2(
      h, modulation2, [&](int64_t t) { return std::move(h[t]); }, std::move(x));
  inject_noise(x, per_channel_scale2);
  return x;
}

Upsample::Upsample(const Weights& w, const VaeLevel& level, const VaeConfig& c)
    : conv(w / "conv", level.out * level.upsample_factor, level.out * kUpsampled, c.decoder_causal),
      residual(level.upsample_residual) {}

Frames Upsample::operator()(Frames x) const {
  const auto frames = std::ssize(x), height = x[0].size(0), width = x[0].size(1);
  const auto channels = conv.weight.size(0) / kUpsampled;
  Frames out;
  const auto upsample = [&](std::span<const Tensor> window, int64_t first) {
    const auto seen = window.subspan(conv.around.past, std::ssize(window) - conv.around.past - conv.around.future);
    const auto made = empty_frames(std::ssize(seen), {height, width, channels * kUpsampled}, seen[0]);
    convolve(window, conv.weight, conv.bias, made, conv.around.border);
    for (size_t i = 0; i < made.size(); ++i) {
      for (int64_t half = first + i == 0 ? 1 : 0; half < 2; ++half) {
        const auto frame = at::empty({height, 2, width, 2, channels}, seen[i].options());
        frame.copy_(spread(made[i], half));
        if (residual) {                              // its channels are repeated until there are enough
          const auto input = spread(seen[i], half);  // [H, 2, W, 2, Cin / 8]
          frame.unflatten(4, {-1, input.size(4)}).add_(input.unsqueeze(4));
        }
        out.push_back(frame.view({2 * height, 2 * width, channels}));
      }
    }
  };
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  walk(frames, frames_at_once(frames, height * width), conv.around.past, conv.around.future, take, upsample);
  return out;
}

Block::Block(const Weights& w, const VaeLevel& level, const VaeConfig& c) {
  const ResnetOptions options{c.decoder_causal, c.resnet_norm_eps, c.timestep_conditioning, level.inject_noise};
  if (level.in != level.out) conv_in.emplace(w / "conv_in", level.in, level.out, options);
  if (c.timestep_conditioning) time_embedder.emplace(w / "time_embedder", 4, level.out);
  if (level.upsamples) upsample.emplace(w / "upsamplers" / 0, level, c);
  for (int64_t i = 0; i < level.layers; ++i) resnets.emplace_back(w / "resnets" / i, level.out, level.out, options);
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(w / "conv_in", c.latent_channels, c.levels[0].in, c.decoder_causal),
      conv_out{{w / "conv_out", c.levels.back().out, c.out_channels * c.patch_size * c.patch_size, c.decoder_causal}},
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
  const auto type = z.scalar_type();
  Tensor scaled;  // timestep
  if (timestep_scale_multiplier) scaled = timestep->to(type) * timestep_scale_multiplier->to(type);
  auto x = convolve(conv_in.weight, conv_in.bias, conv_in.around, z.size(0), z.size(1) * z.size(2),
                    [&](int64_t t) { return z[t]; });
  const auto run = [&](const auto& layer, const auto&... conditions) {
    progress.check();
    x = layer(std::move(x), conditions...);
  };
  for (const auto& block : blocks) {
    std::optional<Tensor> temb;  // [4, C]
    if (block.time_embedder) temb = (*block.time_embedder)(scaled, type);
    if (block.conv_in) run(*block.conv_in, temb, generator);
    if (block.upsample) run(*block.upsample);
    for (const auto& resnet : block.resnets) run(resnet, temb, generator);
  }
  progress.check();
  std::optional<Tensor> modulation;  // [2, C]
  if (time_embedder) modulation = (*time_embedder)(scaled, type) + scale_shift_table->to(type);
  x = conv_out(x, modulation, [&](int64_t t) { return std::move(x[t]); });
  for (auto& frame : x)  // [h, w, 3 * patch * patch] -> [H, W, 3]; columns of a patch are its slower axis
    frame = frame.unflatten(2, {-1, patch_size, patch_size}).permute({0, 4, 1, 3, 2}).flatten(2, 3).flatten(0, 1);
  return at::stack(x);
}

// ---- decoding -------------------------------------------------------------------------------------------------------

Vae::Vae(const Weights& w, const VaeConfig& c)
    : config_(c),
      latents_mean_(w.load("latents_mean", {c.latent_channels})),
      latents_std_(w.load("latents_std", {c.latent_channels})),
      decoder_(w / "decoder", c) {}

std::vector<UnneededKey> Vae::unneeded_keys() { return {{"encoder.*", "decoding needs no encoder"}}; }

Tensor Vae::denormalize(const Tensor& latents) const {
  const auto of_channels = [&](const Tensor& t) { return t.to(latents.options()).view({1, -1, 1, 1, 1}); };
  return latents * of_channels(latents_std_) / config_.scaling_factor + of_channels(latents_mean_);
}

Tensor Vae::decode(const Tensor& latents, const std::optional<Tensor>& timestep, const Tiles& tiles,
                   std::optional<at::Generator> generator, Progress& progress) const {
  if (config_.timestep_conditioning && !timestep) throw Error("the VAE is told a timestep, and none is given");
  if (config_.injects_noise() && !generator) throw Error("the VAE injects noise, and no generator is given");
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto space = tiling_of(config_), time = tiling_of_time(config_);
  const bool in_space = tiles.space && std::max(height, width) > space.latent_size;
  const bool in_time = tiles.time && frames > time.latent_size;
  const auto total =
      batch * (in_space ? space.tiles(height) * space.tiles(width) : 1) * (in_time ? time.tiles(frames) : 1);
  const auto scale = config_.spatial_compression(), video_frames = config_.video_frames(frames);
  const auto video =
      at::empty({batch, config_.out_channels, video_frames, scale * height, scale * width}, latents.options());
  int64_t done = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const auto noise = generator && b + 1 < batch ? std::optional(generator->clone()) : generator;
    const auto told = timestep ? std::optional(timestep->slice(0, b, b + 1)) : std::nullopt;  // [1]
    const auto decode = [&](const Tensor& z) {
      const auto decoded = decoder_(z, told, noise, progress);
      progress.step(++done, total);
      return decoded;
    };
    const auto decode_picture = [&](const Tensor& z) {
      return in_space ? in_tiles(z, space, space, decode) : decode(z);
    };
    const auto z = latents[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    const auto decoded =
        in_time ? in_parts(z, time, /*drop_first=*/false, video_frames, decode_picture) : decode_picture(z);
    video[b].permute({1, 2, 3, 0}).copy_(decoded);
  }
  return video;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

namespace {

// Walks through the decoder as Decoder does and counts elements instead of computing them.
struct ElementCount {
  const VaeConfig& c;
  int64_t peak = 0;

  void held(int64_t elements) { peak = std::max(peak, elements); }

  // Decodes this many latent frames of h x w.
  void decode(int64_t frames, int64_t h, int64_t w) {
    constexpr int64_t kWeight = 27 + 16 * 3;  // elements of a 3x3x3 weight in the type that computes, and transformed
    auto positions = h * w;                   // of a frame
    const auto window = [&] {                 // elements that a convolution sees at once, and a square for the norm
      return (std::min(frames, frames_at_once(frames, positions)) + 3) * positions;
    };
    const auto resnet = [&](int64_t in, int64_t out) {
      const auto x = frames * positions * in, result = frames * positions * out, weight = kWeight * in * out;
      if (in == out) held(x + result + window() * in + weight);
      if (in != out) held(std::max(x + 2 * window() * out, 2 * result) + window() * in + weight);
      held(2 * result + positions * out + kWeight * out * out);
    };
    for (const auto& level : c.levels) {
      if (level.in != level.out) resnet(level.in, level.out);
      if (level.upsamples) {
        const auto in = level.out * level.upsample_factor, made = kUpsampled * level.out;
        const auto at_once = frames_at_once(frames, positions) * positions * made, seen = window() * in;
        const auto x = frames * positions * in, weight = kWeight * in * made;
        frames = 2 * frames - 1;
        positions *= 4;
        held(std::max(x, seen + frames * positions * level.out) + at_once + weight);
      }
      for (int64_t i = 0; i < level.layers; ++i) resnet(level.out, level.out);
    }
    const auto out = c.levels.back().out, made = c.out_channels * c.patch_size * c.patch_size;
    held(frames * positions * (out + made) + window() * out + kWeight * out * made);
  }
};

}  // namespace

int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      const Tiles& tiles, int64_t element_size) {
  const auto video = c.video_frames(latent_frames) * c.out_channels * latent_height * latent_width *
                     c.spatial_compression() * c.spatial_compression();
  if (tiles.time) latent_frames = std::min(latent_frames, tiling_of_time(c).latent_size + 1);
  if (tiles.space) {
    latent_height = std::min(latent_height, tiling_of(c).latent_size);
    latent_width = std::min(latent_width, tiling_of(c).latent_size);
  }
  ElementCount count{c};
  count.decode(latent_frames, latent_height, latent_width);
  // Beside the video it is held as tiles, which overlap, and as the picture that they become.
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (count.peak + 4 * video) * element_size + kScratch;
}

}  // namespace eav::ltx_video
