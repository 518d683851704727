#include "models/open_sora/temporal_vae.h"

#include <algorithm>
#include <utility>

namespace eav::open_sora {
namespace {

constexpr double kTemporalEps = 1e-5;  // of every norm

VideoConv causal_conv(const Weights& w, int64_t in, int64_t out) {
  return {w.load("conv.weight", {out, in, 3, 3, 3}),
          w.optional("conv.bias", {out}),
          {.past = 2, .future = 0, .border = Border::kZero, .before = Border::kZero}};
}

// Every other frame of a convolution, which sees a frame before its own and one after.
VideoConv strided_conv(const Weights& w, int64_t in, int64_t out) {
  auto conv = causal_conv(w, in, out);
  conv.around.past = conv.around.future = 1;
  return conv;
}

NormedConv normed_conv(const Weights& w, const char* norm, const char* convolution, int64_t in, int64_t out,
                       const TemporalVaeConfig& c) {
  return {{w / norm, in, c.num_groups, kTemporalEps}, causal_conv(w / convolution, in, out)};
}

std::vector<ResnetBlock> resnet_blocks(const Weights& w, int64_t in, int64_t out, const TemporalVaeConfig& c) {
  std::vector<ResnetBlock> blocks;
  for (int64_t i = 0; i < c.num_res_blocks; ++i, in = out) {
    auto& block = blocks.emplace_back(ResnetBlock{
        normed_conv(w / i, "norm1", "conv1", in, out, c), normed_conv(w / i, "norm2", "conv2", out, out, c), {}});
    if (in != out) block.conv_shortcut.emplace(w / i / "conv3" / "conv", in, out);
  }
  return blocks;
}

// Frames whose channels lie in pairs become two frames each.
Frames spread(const Frames& x) {
  Frames out;
  for (const auto& frame : x)
    for (auto& half : frame.unflatten(2, {-1, 2}).unbind(3)) out.push_back(half.contiguous());
  return out;
}

}  // namespace

TemporalEncoder::TemporalEncoder(const Weights& w, const TemporalVaeConfig& c)
    : conv_in(causal_conv(w / "encoder" / "conv_in", c.in_out_channels, c.filters)),
      res_blocks(
          resnet_blocks(w / "encoder" / "res_blocks", c.channels(c.levels() - 1), c.channels(c.levels() - 1), c)),
      norm1(w / "encoder" / "norm1", c.channels(c.levels() - 1), c.num_groups, kTemporalEps),
      conv2(w / "encoder" / "conv2" / "conv", c.channels(c.levels() - 1), 2 * c.latent_embed_dim),
      quant_conv(w / "quant_conv" / "conv", 2 * c.latent_embed_dim, 2 * c.embed_dim),
      embed_dim(c.embed_dim),
      compression(c.compression()) {
  auto in = c.filters;
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto out = c.channels(level);
    auto& added = levels.emplace_back(Level{resnet_blocks(w / "encoder" / "block_res_blocks" / level, in, out, c), {}});
    if (level + 1 < c.levels() && c.temporal_downsample[level])
      added.downsample = strided_conv(w / "encoder" / "conv_blocks" / level, out, out);
    in = out;
  }
}

Tensor TemporalEncoder::operator()(const Tensor& x, const Progress& progress) const {
  const auto missing = (compression - x.size(0) % compression) % compression;
  auto frames = conv_in(at::constant_pad_nd(x, {0, 0, 0, 0, 0, 0, missing, 0}));
  for (const auto& level : levels) {
    frames = run_all(level.resnets, std::move(frames), progress);
    if (level.downsample)
      frames = convolve_strided(frames, level.downsample->weight, level.downsample->bias, level.downsample->around,
                                /*time_stride=*/2, /*space_stride=*/1);
  }
  frames = run_all(res_blocks, std::move(frames), progress);
  const auto [scale, shift] = norm1(frames);
  for (const auto& frame : frames) modulate_silu(frame, scale.view({1, 1, -1}), shift.view({1, 1, -1}), frame);
  return quant_conv(conv2(at::stack(frames))).slice(3, 0, embed_dim);  // the distribution's mode is its mean
}

TemporalDecoder::TemporalDecoder(const Weights& w, const TemporalVaeConfig& c)
    : post_quant_conv(w / "post_quant_conv" / "conv", c.embed_dim, c.latent_embed_dim),
      conv1(causal_conv(w / "decoder" / "conv1", c.latent_embed_dim, c.channels(c.levels() - 1))),
      res_blocks(
          resnet_blocks(w / "decoder" / "res_blocks", c.channels(c.levels() - 1), c.channels(c.levels() - 1), c)),
      conv_out(normed_conv(w / "decoder", "norm1", "conv_out", c.channels(0), c.in_out_channels, c)) {
  auto in = c.channels(c.levels() - 1);
  for (auto level = c.levels() - 1; level >= 0; --level) {
    auto& added = levels.emplace_back();
    if (level + 1 < c.levels() && c.temporal_downsample[level])
      added.upsample = causal_conv(w / "decoder" / "conv_blocks" / level, in, 2 * in);
    added.resnets = resnet_blocks(w / "decoder" / "block_res_blocks" / level, in, c.channels(level), c);
    in = c.channels(level);
  }
}

Tensor TemporalDecoder::operator()(const Tensor& z, int64_t frames, const Progress& progress) const {
  auto x = run_all(res_blocks, conv1(post_quant_conv(z)), progress);
  for (const auto& level : levels) {
    if (level.upsample) x = spread((*level.upsample)(at::stack(x)));
    x = run_all(level.resnets, std::move(x), progress);
  }
  const auto made = at::stack(conv_out(std::move(x)));
  return made.slice(0, made.size(0) - frames);
}

int64_t video_elements(const TemporalVaeConfig& c, int64_t frames, int64_t height, int64_t width) {
  const auto widest = *std::ranges::max_element(c.channel_multipliers) * c.filters;
  // At the full number of frames a level has its input, which is what doubled the frames, and two more of its size.
  const auto window = std::min(frames, frames_at_once(frames, height * width) + 2);
  return (4 * frames + window) * height * width * widest + 48 * widest * widest;
}

}  // namespace eav::open_sora
