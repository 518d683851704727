#include "models/open_sora/temporal_vae.h"

#include <iterator>
#include <utility>

namespace eav::open_sora {
namespace {

constexpr double kTemporalEps = 1e-5;  // of every norm

constexpr Surroundings kCausal{.past = 2, .future = 0, .border = Border::kZero, .before = Border::kZero};
// Of a convolution of every other frame.
constexpr Surroundings kStrided{.past = 1, .future = 1, .border = Border::kZero, .before = Border::kZero};

NormedConv<GroupNormSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out,
                                      const TemporalVaeConfig& c) {
  return {{{norm, in, c.num_groups, kTemporalEps}}, {conv / "conv", in, out, kCausal}};
}

auto resnet_blocks(const Weights& w, int64_t in, int64_t out, const TemporalVaeConfig& c) {
  return read_resnets(w, c.num_res_blocks, in, out, [&](const Weights& at, int64_t from, int64_t to) {
    ResnetBlock<GroupNormSilu> block{
        normed_conv(at / "norm1", at / "conv1", from, to, c), normed_conv(at / "norm2", at / "conv2", to, to, c), {}};
    if (from != to) block.conv_shortcut.emplace(at / "conv3" / "conv", from, to);
    return block;
  });
}

}  // namespace

TemporalEncoder::TemporalEncoder(const Weights& w, const TemporalVaeConfig& c)
    : conv_in(w / "encoder" / "conv_in" / "conv", c.in_out_channels, c.filters, kCausal),
      mid(resnet_blocks(w / "encoder" / "res_blocks", c.channels(c.levels() - 1), c.channels(c.levels() - 1), c)),
      norm1{{w / "encoder" / "norm1", c.channels(c.levels() - 1), c.num_groups, kTemporalEps}},
      conv2(w / "encoder" / "conv2" / "conv", c.channels(c.levels() - 1), 2 * c.latent_embed_dim),
      quant_conv(w / "quant_conv" / "conv", 2 * c.latent_embed_dim, 2 * c.embed_dim),
      embed_dim(c.embed_dim),
      compression(c.compression()) {
  auto in = c.filters;
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto out = c.channels(level);
    DownLevel added{resnet_blocks(w / "encoder" / "block_res_blocks" / level, in, out, c), {}};
    if (level + 1 < c.levels() && c.temporal_downsample[level])
      added.resample = Downsample{{w / "encoder" / "conv_blocks" / level / "conv", out, out, kStrided},
                                  /*time_stride=*/2,
                                  /*space_stride=*/1};
    down.push_back(std::move(added));
    in = out;
  }
}

Tensor TemporalEncoder::operator()(const Tensor& x, const Progress& progress) const {
  Pass pass{.progress = progress};
  const auto missing = (compression - x.size(0) % compression) % compression;
  auto frames = conv_in(at::constant_pad_nd(x, {0, 0, 0, 0, 0, 0, missing, 0}), pass);
  for (const auto& level : down) frames = level(std::move(frames), pass);
  frames = run_all(mid, std::move(frames), pass);
  const auto silu = norm1(frames);
  for (int64_t t = 0; t < std::ssize(frames); ++t) silu(t, frames[t], frames[t]);
  return quant_conv(conv2(joined(frames))).slice(3, 0, embed_dim);  // the distribution's mode is its mean
}

Frames TemporalUpsample::operator()(Frames x, Pass& pass) const {
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  Frames out;
  for (const auto& both : conv(std::ssize(x), positions_of(x[0]), take, pass))
    for (const auto& frame : channels_to_positions(both, /*time=*/2, /*space=*/1))
      out.push_back(frame.flatten(2, 3).flatten(0, 1).contiguous());
  return out;
}

TemporalDecoder::TemporalDecoder(const Weights& w, const TemporalVaeConfig& c)
    : post_quant_conv(w / "post_quant_conv" / "conv", c.embed_dim, c.latent_embed_dim),
      conv1(w / "decoder" / "conv1" / "conv", c.latent_embed_dim, c.channels(c.levels() - 1), kCausal),
      mid(resnet_blocks(w / "decoder" / "res_blocks", c.channels(c.levels() - 1), c.channels(c.levels() - 1), c)),
      conv_out(normed_conv(w / "decoder" / "norm1", w / "decoder" / "conv_out", c.channels(0), c.in_out_channels, c)) {
  // The file counts levels from the first to the last, and has what doubles the frames of a level before its blocks.
  auto in = c.channels(c.levels() - 1);
  for (auto level = c.levels() - 1; level >= 0; --level) {
    const auto out = c.channels(level);
    UpLevel added{resnet_blocks(w / "decoder" / "block_res_blocks" / level, in, out, c), {}};
    if (level > 0 && c.temporal_downsample[level - 1])
      added.resample = TemporalUpsample{{w / "decoder" / "conv_blocks" / (level - 1) / "conv", out, 2 * out, kCausal}};
    up.push_back(std::move(added));
    in = out;
  }
}

Tensor TemporalDecoder::operator()(const Tensor& z, int64_t frames, const Progress& progress) const {
  Pass pass{.progress = progress};
  auto x = run_all(mid, conv1(post_quant_conv(z), pass), pass);
  for (const auto& level : up) x = level(std::move(x), pass);
  const auto made = joined(conv_out(std::move(x), pass));
  return made.slice(0, made.size(0) - frames);
}

}  // namespace eav::open_sora
