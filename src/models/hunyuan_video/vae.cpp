#include "models/hunyuan_video/vae.h"

#include <algorithm>
#include <iterator>
#include <span>
#include <utility>

namespace eav::hunyuan_video {
namespace {

constexpr double kEps = 1e-6;  // of every norm

// ---- tiles ----------------------------------------------------------------------------------------------------------

// A tile of space or time, and from one to the next, in pixels or frames of the video.
constexpr int64_t kTileSize = 256, kTileStride = 192, kTileFrames = 16, kTileStrideFrames = 12;

// The tiles of a video of this many latent frames: one, or tiles that have a frame more than their size, whose picture
// the tile before has made already.
Tiling tiling_of_time(int64_t latent_frames, const VaeConfig& c) {
  const auto size = kTileFrames / c.temporal_compression_ratio,
             stride = kTileStrideFrames / c.temporal_compression_ratio;
  const bool tiled = latent_frames > size;
  return {.latent_size = tiled ? size + 1 : latent_frames,
          .latent_stride = tiled ? stride : latent_frames,
          .keep = kTileStrideFrames,
          .blend = kTileFrames - kTileStrideFrames};
}

}  // namespace

Tiling tiling_of_space(const VaeConfig& c) {
  return {.latent_size = kTileSize / c.spatial_compression(),
          .latent_stride = kTileStride / c.spatial_compression(),
          .keep = kTileStride,
          .blend = kTileSize - kTileStride};
}

// ---- layers ---------------------------------------------------------------------------------------------------------

VideoConv causal_conv(const Weights& w, int64_t in, int64_t out) {
  return {w.load("conv.weight", {out, in, 3, 3, 3}),
          w.optional("conv.bias", {out}),
          {.past = kPast, .future = 0, .border = Border::kReplicate}};
}

NormedConv normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out, const VaeConfig& c) {
  return {{norm, in, c.norm_num_groups, kEps}, causal_conv(conv, in, out)};
}

ResnetBlock resnet_block(const Weights& w, int64_t in, int64_t out, const VaeConfig& c) {
  ResnetBlock block{
      normed_conv(w / "norm1", w / "conv1", in, out, c), normed_conv(w / "norm2", w / "conv2", out, out, c), {}};
  if (in != out) block.conv_shortcut.emplace(w / "conv_shortcut" / "conv", in, out);
  return block;
}

MidBlock mid_block(const Weights& w, const VaeConfig& c) {
  const auto channels = c.block_out_channels.back();
  return read_mid_block(w, channels, c.norm_num_groups, kEps, c.mid_block_add_attention,
                        [&](const Weights& at) { return resnet_block(at, channels, channels, c); });
}

Upsample::Upsample(const Weights& w, int64_t level, const VaeConfig& c)
    : doubles_space(c.doubles_space(level)),
      doubles_time(c.doubles_time(level)),
      conv(causal_conv(w / "conv", c.decoder_channels(level), c.decoder_channels(level))) {}

// The enlarged video is never made. In space the convolution reads each position as two by two. In time, frames 2t - 1
// and 2t both show x[t], and what they see are x[t - 1] and x[t] alone: one of them under two taps of the weight, which
// are added up.
Frames Upsample::operator()(Frames x) const {
  const auto frames = std::ssize(x), scale = int64_t{doubles_space ? 2 : 1};
  const auto height = scale * x[0].size(0), width = scale * x[0].size(1);
  const auto apply = [&](std::span<const Tensor> window, const Tensor& weight) {
    const auto out = empty_frames(std::ssize(window) + 1 - weight.size(2), {height, width, weight.size(0)}, window[0]);
    if (!out.empty()) convolve(window, weight, conv.bias, out, Border::kReplicate);
    return out;
  };
  Tensor odd, even;  // weights of two taps
  if (doubles_time) {
    const auto taps = conv.weight.to(x[0].scalar_type()).split(1, 2);  // [out, in, 1, 3, 3] each
    odd = at::cat({taps[0] + taps[1], taps[2]}, 2);
    even = at::cat({taps[0], taps[1] + taps[2]}, 2);
  }

  Frames out;
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  const auto past = doubles_time ? 1 : kPast;
  const auto enlarge = [&](std::span<const Tensor> window, int64_t first) {
    if (!doubles_time) return void(std::ranges::move(apply(window, conv.weight), std::back_inserter(out)));
    const size_t alone = first == 0 ? 1 : 0;  // the first frame is not doubled
    const auto before = apply(window, odd), after = apply(window.subspan(alone), even);
    for (size_t i = 0; i < before.size(); ++i) {
      out.push_back(before[i]);
      if (i >= alone) out.push_back(after[i - alone]);
    }
  };
  walk(frames, frames_at_once(frames, height * width), past, 0, take, enlarge);
  return out;
}

UpBlock::UpBlock(const Weights& w, int64_t level, const VaeConfig& c) {
  const auto out = c.decoder_channels(level);
  for (int64_t i = 0; i < c.layers_per_block + 1; ++i) {
    const auto in = i > 0 ? out : c.decoder_channels(std::max<int64_t>(level - 1, 0));
    resnets.push_back(resnet_block(w / "resnets" / i, in, out, c));
  }
  if (c.doubles_space(level) || c.doubles_time(level)) upsample.emplace(w / "upsamplers" / 0, level, c);
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(causal_conv(w / "conv_in", c.latent_channels, c.decoder_channels(0))),
      mid(mid_block(w / "mid_block", c)),
      conv_out(normed_conv(w / "conv_norm_out", w / "conv_out", c.block_out_channels[0], c.out_channels, c)) {
  for (int64_t level = 0; level < c.levels(); ++level) up.emplace_back(w / "up_blocks" / level, level, c);
}

Tensor Decoder::operator()(const Tensor& z, const Progress& progress) const {
  auto x = conv_in(z);
  x = mid(std::move(x), progress);
  for (const auto& level : up) {
    x = run_all(level.resnets, std::move(x), progress);
    progress.check();
    if (level.upsample) x = (*level.upsample)(std::move(x));
  }
  progress.check();
  return at::stack(conv_out(std::move(x)));
}

// ---- decoding -------------------------------------------------------------------------------------------------------

// What is left to do, for the caller to see.
struct Vae::Job {
  bool tiling;
  Progress& progress;
  int64_t done, total;  // tiles
};

Vae::Vae(const Weights& w, const VaeConfig& c)
    : config_(c),
      post_quant_conv_(w / "post_quant_conv", c.latent_channels, c.latent_channels),
      decoder_(w / "decoder", c) {}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"encoder.*", "decoding needs no encoder"}, {"quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, bool tiling, Progress& progress) const {
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto space = tiling_of_space(config_), time = tiling_of_time(frames, config_);
  const bool tiled = tiling && std::max(height, width) > space.latent_size;
  const auto tiles =
      time.tiles(std::max<int64_t>(frames - 1, 1)) * (tiled ? space.tiles(height) * space.tiles(width) : 1);
  const auto scale = config_.spatial_compression();
  const auto video = at::empty(
      {batch, config_.out_channels, config_.video_frames(frames), scale * height, scale * width}, latents.options());
  Job job{tiled, progress, 0, batch * tiles};
  for (int64_t b = 0; b < batch; ++b)  // [F, h, w, C] -> [frames, H, W, 3]
    decode_video(latents[b].permute({1, 2, 3, 0}).contiguous(), video[b].permute({1, 2, 3, 0}), job);
  return video;
}

void Vae::decode_video(const Tensor& z, const Tensor& video, Job& job) const {
  const auto space = tiling_of_space(config_), time = tiling_of_time(z.size(0), config_);
  const auto decode = [&](const Tensor& tile) {
    const auto decoded = decoder_(post_quant_conv_(tile), job.progress);
    job.progress.step(++job.done, job.total);
    return decoded;
  };
  // A tile that begins with the last frame would show nothing new.
  for (int64_t first = 0; first == 0 || first + 1 < z.size(0); first += time.latent_stride) {
    const auto latents = z.slice(0, first, first + time.latent_size);
    auto tile = job.tiling ? in_tiles(latents, space, space, decode) : decode(latents);  // [T, H, W, 3]
    auto begin = first * config_.temporal_compression_ratio;
    if (first > 0) {
      tile = tile.slice(0, 1);
      ++begin;
      blend(video.slice(0, begin, begin + time.blend), tile, 0, time.blend);  // with the end of the tile before
    }
    video.slice(0, begin, begin + tile.size(0)).copy_(tile);
  }
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
    auto positions = h * w, in = c.decoder_channels(0);  // of a frame
    const auto window = [&] {                            // elements that a convolution sees at once
      return std::min(frames, kPast + frames_at_once(frames, positions)) * positions;
    };
    const auto resnet = [&](int64_t out) {
      constexpr int64_t kTransformed = 16 * 3;  // elements of a Winograd transform of a 3x3x3 weight
      const auto x = frames * positions * in, result = frames * positions * out, packed = kTransformed * in * out;
      if (in == out) held(x + result + window() * in + packed);
      if (in != out) held(std::max(x + 2 * window() * out, window() * in + 2 * result) + packed);
      held(2 * result + packed);
      in = out;
    };
    resnet(in);
    if (c.mid_block_add_attention) held((3 * frames + 5) * positions * in);
    resnet(in);
    for (int64_t level = 0; level < c.levels(); ++level) {
      for (int64_t i = 0; i < c.layers_per_block + 1; ++i) resnet(c.decoder_channels(level));
      if (!c.doubles_space(level) && !c.doubles_time(level)) continue;
      const auto seen = window() * in, x = frames * positions * in;
      if (c.doubles_time(level)) frames = 2 * frames - 1;
      if (c.doubles_space(level)) positions *= 4;
      constexpr int64_t kWeights = 9 * 4 + 16 * 2;  // elements of the two weights with added taps, and of a transform
      held(std::max(x, seen + frames * positions * in) + kWeights * in * in);
    }
    held(frames * positions * (in + c.out_channels));
  }
};

}  // namespace

int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size) {
  const auto frame = c.out_channels * latent_height * latent_width * c.spatial_compression() * c.spatial_compression();
  const auto tile_frames = std::min(latent_frames, tiling_of_time(latent_frames, c).latent_size);
  if (tiling) {
    latent_height = std::min(latent_height, tiling_of_space(c).latent_size);
    latent_width = std::min(latent_width, tiling_of_space(c).latent_size);
  }
  ElementCount count{c};
  count.decode(tile_frames, latent_height, latent_width);
  // Beside the video, a tile of time is held as tiles of space, which overlap, and as the picture that they become.
  const auto video = (c.video_frames(latent_frames) + 3 * c.video_frames(tile_frames)) * frame;
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  const auto gaps = count.peak / 6;       // between frames of different sizes: measured, an eighth and less
  return (count.peak + gaps + video) * element_size + kScratch;
}

}  // namespace eav::hunyuan_video
