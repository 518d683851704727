#include "models/cogvideox/vae.h"

#include <fmt/format.h>

#include <algorithm>

#include "nn/tiling.h"

namespace eav::cogvideox {
namespace {

// Latent frames that are decoded together. The first batch takes one more of an odd number.
constexpr int64_t kBatchFrames = 2;
constexpr double kSpatialNormEps = 1e-6;  // of every norm of the decoder; "norm_eps" is the encoder's

int64_t batches_of(int64_t latent_frames) { return std::max<int64_t>(latent_frames / kBatchFrames, 1); }

// What the convolution makes of x [T, H, W, in], yet to be filled.
Tensor empty_result(const Tensor& x, const CausalConv3d& conv) {
  return at::empty({x.size(0), x.size(1), x.size(2), conv.weight.size(0)}, x.options());
}

// Tiles are half of the trained size. Sizes are truncated as the reference does it.
Tiling tiling_of(int64_t sample_size, double overlap, const VaeConfig& c) {
  const auto size = sample_size / 2, latent_size = size / c.spatial_compression();
  const auto blend = static_cast<int64_t>(static_cast<double>(size) * overlap);
  return {.latent_size = latent_size,
          .latent_stride = static_cast<int64_t>(static_cast<double>(latent_size) * (1 - overlap)),
          .keep = size - blend,
          .blend = blend};
}
Tiling tiling_of_height(const VaeConfig& c) { return tiling_of(c.sample_height, 1.0 / 6, c); }
Tiling tiling_of_width(const VaeConfig& c) { return tiling_of(c.sample_width, 1.0 / 5, c); }

}  // namespace

// ---- layers ---------------------------------------------------------------------------------------------------------

std::optional<Tensor> FrameHistory::take(const CausalConv3d& conv) {
  auto kept = frames.extract(&conv);
  return kept ? std::optional(std::move(kept.mapped())) : std::nullopt;
}

void FrameHistory::leave(const CausalConv3d& conv, const Tensor& last_frames) {
  if (more_follows) frames[&conv] = last_frames.clone();
}

SpatialNorm::SpatialNorm(const Weights& w, int64_t channels, const VaeConfig& c)
    : norm(w / "norm_layer", channels, c.norm_num_groups, kSpatialNormEps),
      conv_y(w / "conv_y" / "conv", c.latent_channels, channels),
      conv_b(w / "conv_b" / "conv", c.latent_channels, channels) {}

// The reference spreads the latents over the video and maps them there. A linear map of each position gives the same
// before the spreading, where there are hundreds of times fewer positions, and the norm's own affine map joins it.
SpatialNorm::Modulation SpatialNorm::operator()(const Tensor& x, const Tensor& z) const {
  const auto [scale, shift] = norm(x);      // [C]
  const auto y = conv_y(z).to(at::kFloat);  // [Tz, h, w, C]
  const auto b = conv_b(z).to(at::kFloat);
  return {x.size(0), y * scale, at::addcmul(b, y, shift)};
}

void SpatialNorm::Modulation::apply_silu(int64_t t, const Tensor& x, const Tensor& out) const {
  const auto latent_frames = scale.size(0);
  const bool first_stands_alone = frames > 1 && frames % 2 == 1;  // it has a latent frame of its own
  const auto latent = !first_stands_alone ? t * latent_frames / frames
                      : t == 0            ? 0
                                          : 1 + (t - 1) * (latent_frames - 1) / (frames - 1);
  modulate_silu(x, scale[latent], shift[latent], out);
}

NormedConv::NormedConv(const Weights& norm, const Weights& conv, int64_t in, int64_t out, const VaeConfig& c)
    : norm(norm, in, c), conv(conv / "conv", in, out) {}

void NormedConv::operator()(const Tensor& x, const Tensor& z, FrameHistory& history, const Tensor& out,
                            Write write) const {
  constexpr auto past = CausalConv3d::kHistory;
  const auto modulation = norm(x, z);
  const auto frames = x.size(0), step = frames_at_once(frames, x.size(1) * x.size(2));
  const auto window = at::empty({past + step, x.size(1), x.size(2), x.size(3)}, x.options());

  if (const auto before = history.take(conv)) {
    window.slice(0, 0, past).copy_(*before);
  } else {  // nothing came before: the first frame stands for it
    modulation.apply_silu(0, x[0], window[0]);
    window.slice(0, 1, past).copy_(window[0]);
  }
  for (int64_t first = 0; first < frames; first += step) {
    const auto n = std::min(step, frames - first);
    for (int64_t t = 0; t < n; ++t) modulation.apply_silu(first + t, x[first + t], window[past + t]);
    conv(window.slice(0, 0, past + n), out.slice(0, first, first + n), write);
    for (int64_t t = 0; t < past; ++t) window[t].copy_(window[n + t]);
  }
  history.leave(conv, window.slice(0, 0, past));
}

ResnetBlock::ResnetBlock(const Weights& w, int64_t in, int64_t out, const VaeConfig& c)
    : conv1(w / "norm1", w / "conv1", in, out, c), conv2(w / "norm2", w / "conv2", out, out, c) {
  if (in != out) conv_shortcut.emplace(w / "conv_shortcut", in, out);
}

Tensor ResnetBlock::operator()(Tensor x, const Tensor& z, FrameHistory& history) const {
  const auto h = empty_result(x, conv1.conv);  // [T, H, W, out]
  conv1(x, z, history, h);
  if (conv_shortcut) x = (*conv_shortcut)(x);
  conv2(h, z, history, x, Write::kAdd);
  return x;
}

Tensor Upsample::operator()(const Tensor& x) const {
  const auto frames = x.size(0), height = x.size(1), width = x.size(2), channels = x.size(3);
  const bool first_stands_alone = frames % 2 == 1;  // it is not doubled in time
  const auto out_frames = !doubles_time ? frames : first_stands_alone ? 2 * frames - 1 : 2 * frames;
  const auto out = at::empty({out_frames, 2 * height, 2 * width, channels}, x.options());
  for (int64_t t = 0, to = 0; t < frames; ++t) {
    const auto frame = out.slice(0, to, to + 1);
    conv(x.slice(0, t, t + 1), frame);
    ++to;
    // Frames that are equal before the convolution are equal after it.
    if (doubles_time && !(first_stands_alone && t == 0)) out[to++].copy_(frame[0]);
  }
  return out;
}

UpBlock::UpBlock(const Weights& w, int64_t level, const VaeConfig& c) {
  const auto out = c.decoder_channels(level);
  for (int64_t i = 0; i < c.layers_per_block + 1; ++i) {
    const auto in = i > 0 ? out : c.decoder_channels(std::max<int64_t>(level - 1, 0));
    resnets.emplace_back(w / "resnets" / i, in, out, c);
  }
  if (level + 1 < c.levels()) upsample.emplace(w / "upsamplers" / 0, out, c.doubles_time(level));
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(w / "conv_in" / "conv", c.latent_channels, c.decoder_channels(0)),
      conv_out(w / "norm_out", w / "conv_out", c.block_out_channels[0], c.out_channels, c) {
  const auto channels = c.decoder_channels(0);
  for (int64_t i = 0; i < 2; ++i) mid.emplace_back(w / "mid_block" / "resnets" / i, channels, channels, c);
  for (int64_t level = 0; level < c.levels(); ++level) up.emplace_back(w / "up_blocks" / level, level, c);
}

Tensor Decoder::operator()(const Tensor& z, FrameHistory& history, const Progress& progress) const {
  const auto run = [&](const ResnetBlock& block, Tensor x) {
    progress.check();
    return block(std::move(x), z, history);
  };
  constexpr auto past = CausalConv3d::kHistory;
  const auto before = history.take(conv_in).value_or(z.slice(0, 0, 1).expand({past, -1, -1, -1}));
  const auto window = at::cat({before, z});  // [past + Tz, h, w, Cz]
  history.leave(conv_in, window.slice(0, window.size(0) - past));

  auto x = empty_result(z, conv_in);
  conv_in(window, x);
  for (const auto& block : mid) x = run(block, std::move(x));
  for (const auto& level : up) {
    for (const auto& block : level.resnets) x = run(block, std::move(x));
    if (level.upsample) x = (*level.upsample)(x);
  }
  const auto out = empty_result(x, conv_out.conv);  // [T, H, W, 3]
  conv_out(x, z, history, out);
  return out;
}

// ---- decoding -------------------------------------------------------------------------------------------------------

// What is left to do, for the caller to see.
struct Vae::Job {
  Progress& progress;
  int64_t done, total;  // batches of frames, of all tiles
};

Vae::Vae(const Weights& w, const VaeConfig& c) : config_(c), decoder_(w / "decoder", c) {
  if (c.use_post_quant_conv) post_quant_conv_.emplace(w / "post_quant_conv", c.latent_channels, c.latent_channels);
}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"encoder.*", "decoding needs no encoder"}, {"quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, bool tiling, Progress& progress) const {
  const auto rows = tiling_of_height(config_), columns = tiling_of_width(config_);
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const bool tiled = tiling && (height > rows.latent_size || width > columns.latent_size);
  if (tiled && (rows.latent_stride < 1 || columns.latent_stride < 1))
    throw Error(
        fmt::format("tiles of {}x{} latent pixels, half of the VAE's \"sample_width\" x \"sample_height\", are "
                    "too small to overlap; decode without tiling",
                    columns.latent_size, rows.latent_size));

  const auto tiles = tiled ? rows.tiles(height) * columns.tiles(width) : 1;
  Job job{progress, 0, batch * tiles * batches_of(frames)};
  std::vector<Tensor> videos;
  for (int64_t b = 0; b < batch; ++b) {
    const auto z = latents[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    const auto decode = [&](const Tensor& tile) { return decode_video(tile, job); };
    videos.push_back((tiled ? in_tiles(z, rows, columns, decode) : decode(z)).permute({3, 0, 1, 2}));
  }
  return at::stack(videos);  // [B, 3, frames, H, W]
}

// z [F, h, w, Cz] -> [frames, H, W, 3]
Tensor Vae::decode_video(const Tensor& z, Job& job) const {
  FrameHistory history;
  std::vector<Tensor> decoded;
  for (int64_t first = 0, end = 0; first < z.size(0); first = end) {
    end = first + kBatchFrames + (first == 0 ? z.size(0) % kBatchFrames : 0);
    history.more_follows = end < z.size(0);
    const auto batch = z.slice(0, first, end);
    decoded.push_back(decoder_(post_quant_conv_ ? (*post_quant_conv_)(batch) : batch, history, job.progress));
    job.progress.step(++job.done, job.total);
  }
  return at::cat(decoded);
}

// ---- memory ---------------------------------------------------------------------------------------------------------

namespace {

// Walks through the decoder as Decoder does and counts elements instead of computing them.
struct ElementCount {
  const VaeConfig& c;
  bool more_follows;
  int64_t history = 0, peak = 0;

  void held(int64_t elements) { peak = std::max(peak, history + elements); }

  // One NormedConv beside `others`, which include its input and its result.
  void convolve(int64_t frames, int64_t positions, int64_t in, int64_t out, int64_t others) {
    constexpr int64_t kTransformed = 16 * 3;  // elements of a Winograd transform of a 3x3x3 weight
    const auto window = CausalConv3d::kHistory + frames_at_once(frames, positions);
    held(others + window * positions * in + kTransformed * in * out);
    if (more_follows) history += CausalConv3d::kHistory * positions * in;
  }

  // Decodes this many latent frames of h x w; returns the elements of their video.
  int64_t decode(int64_t frames, int64_t h, int64_t w) {
    auto positions = h * w, in = c.decoder_channels(0);  // of a frame
    const auto resnet = [&](int64_t out) {
      const auto x = frames * positions * in, result = frames * positions * out;
      convolve(frames, positions, in, out, x + result);
      if (in != out) held(x + 2 * result);
      convolve(frames, positions, out, out, 2 * result);
      in = out;
    };
    for (int i = 0; i < 2; ++i) resnet(in);
    for (int64_t level = 0; level < c.levels(); ++level) {
      for (int64_t i = 0; i < c.layers_per_block + 1; ++i) resnet(c.decoder_channels(level));
      if (level + 1 == c.levels()) break;
      const auto x = frames * positions * in;
      if (c.doubles_time(level)) frames = frames % 2 == 1 ? 2 * frames - 1 : 2 * frames;
      positions *= 4;
      held(x + (frames + 1) * positions * in);  // and, off the CPU, one enlarged frame
    }
    convolve(frames, positions, in, c.out_channels, frames * positions * (in + c.out_channels));
    return frames * positions * c.out_channels;
  }
};

}  // namespace

int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size) {
  const auto video = c.video_frames(latent_frames) * c.out_channels * latent_height * latent_width *
                     c.spatial_compression() * c.spatial_compression();
  if (tiling) {
    latent_height = std::min(latent_height, tiling_of_height(c).latent_size);
    latent_width = std::min(latent_width, tiling_of_width(c).latent_size);
  }
  const auto first_frames = std::min(latent_frames, kBatchFrames + latent_frames % kBatchFrames);
  ElementCount first{c, first_frames < latent_frames};
  first.decode(first_frames, latent_height, latent_width);
  // What a later batch takes out of the history it puts back.
  ElementCount later{c, false, first.history};
  if (first.more_follows) later.decode(kBatchFrames, latent_height, latent_width);
  // Batches and tiles are held beside the video that they are joined to.
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (std::max(first.peak, later.peak) + 2 * video) * element_size + kScratch;
}

}  // namespace eav::cogvideox
