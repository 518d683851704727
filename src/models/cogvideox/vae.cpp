#include "models/cogvideox/vae.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace eav::cogvideox {
namespace {

constexpr double kSpatialNormEps = 1e-6;  // of every norm of the decoder; "norm_eps" is the encoder's

constexpr Surroundings kCausal{.past = 2, .future = 0, .border = Border::kZero};

NormedConv<SpatialNormSilu> normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out,
                                        const VaeConfig& c) {
  return {{norm, in, c}, {conv / "conv", in, out, kCausal}};
}

Decoder::Resnet resnet_block(const Weights& w, int64_t in, int64_t out, const VaeConfig& c) {
  Decoder::Resnet block{
      normed_conv(w / "norm1", w / "conv1", in, out, c), normed_conv(w / "norm2", w / "conv2", out, out, c), {}};
  if (in != out) block.conv_shortcut.emplace(w / "conv_shortcut", in, out);
  return block;
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

}  // namespace

TileGrid tile_grid(const VaeConfig& c) {
  return {.rows = tiling_of(c.sample_height, 1.0 / 6, c), .columns = tiling_of(c.sample_width, 1.0 / 5, c)};
}

// ---- layers ---------------------------------------------------------------------------------------------------------

SpatialNormSilu::SpatialNormSilu(const Weights& w, int64_t channels, const VaeConfig& c)
    : norm(w / "norm_layer", channels, c.norm_num_groups, kSpatialNormEps),
      conv_y(w / "conv_y" / "conv", c.latent_channels, channels),
      conv_b(w / "conv_b" / "conv", c.latent_channels, channels) {}

// The reference spreads the latents over the video and maps them there. A linear map of each position gives the same
// before the spreading, where there are hundreds of times fewer positions, and the norm's own affine map joins it.
NormedSilu SpatialNormSilu::operator()(const Frames& x, const Tensor& z) const {
  const auto affine = norm(joined(x));      // scale and shift, [C]
  const auto y = conv_y(z).to(at::kFloat);  // [Tz, h, w, C]
  const auto b = conv_b(z).to(at::kFloat);
  return [scale = y * affine.first, shift = at::addcmul(b, y, affine.second), frames = std::ssize(x)](
             int64_t t, const Tensor& frame, const Tensor& out) {
    const auto latent_frames = scale.size(0);
    const bool first_stands_alone = frames > 1 && frames % 2 == 1;  // it has a latent frame of its own
    const auto latent = !first_stands_alone ? t * latent_frames / frames
                        : t == 0            ? 0
                                            : 1 + (t - 1) * (latent_frames - 1) / (frames - 1);
    modulate_silu(frame, scale[latent], shift[latent], out);
  };
}

Decoder::Decoder(const Weights& w, const VaeConfig& c)
    : conv_in(w / "conv_in" / "conv", c.latent_channels, c.decoder_channels(0), kCausal),
      conv_out(normed_conv(w / "norm_out", w / "conv_out", c.block_out_channels[0], c.out_channels, c)) {
  const auto resnets = [&](const Weights& below, int64_t count, int64_t in, int64_t out) {
    return read_resnets(below / "resnets", count, in, out,
                        [&](const Weights& at, int64_t from, int64_t to) { return resnet_block(at, from, to, c); });
  };
  auto in = c.decoder_channels(0);
  mid = resnets(w / "mid_block", 2, in, in);
  for (int64_t level = 0; level < c.levels(); ++level) {
    const auto block = w / "up_blocks" / level;
    const auto out = c.decoder_channels(level);
    UpLevel added{resnets(block, c.layers_per_block + 1, in, out), {}};
    if (level + 1 < c.levels())
      added.resample =
          Upsample{Conv3d::of_pictures(block / "upsamplers" / 0 / "conv", out, out), c.doubles_time(level)};
    up.push_back(std::move(added));
    in = out;
  }
}

Tensor Decoder::operator()(const Tensor& z, Pass& pass) const {
  auto x = run_all(mid, conv_in(z, pass), pass, z);
  for (const auto& level : up) x = level(std::move(x), pass, z);
  return joined(conv_out(std::move(x), pass, z));
}

// ---- decoding -------------------------------------------------------------------------------------------------------

Vae::Vae(const Weights& w, const VaeConfig& c) : config_(c), decoder_(w / "decoder", c) {
  if (c.use_post_quant_conv) post_quant_conv_.emplace(w / "post_quant_conv", c.latent_channels, c.latent_channels);
}

std::vector<UnneededKey> Vae::unneeded_keys() {
  return {{"encoder.*", "decoding needs no encoder"}, {"quant_conv.*", "it follows the encoder"}};
}

Tensor Vae::decode(const Tensor& latents, bool tiling, Progress& progress) const {
  const auto batch = latents.size(0), frames = latents.size(2), height = latents.size(3), width = latents.size(4);
  const auto grid = tiling ? std::optional(tile_grid(config_)) : std::nullopt;
  if (grid && grid->cuts(height, width) && (grid->rows.latent_stride < 1 || grid->columns.latent_stride < 1))
    throw Error(
        fmt::format("tiles of {}x{} latent pixels, half of the VAE's \"sample_width\" x \"sample_height\", are "
                    "too small to overlap; decode without tiling",
                    grid->columns.latent_size, grid->rows.latent_size));

  int64_t done = 0;
  const auto chunks = std::max<int64_t>(frames / kChunkFrames, 1);
  const auto total = batch * chunks * (grid ? grid->tiles(height, width) : 1);
  const auto decode_tile = [&](const Tensor& z) {  // [F, h, w, Cz] -> [frames, H, W, 3]
    Pass pass{.progress = progress, .one_block = true};
    std::vector<Tensor> decoded;
    for (int64_t first = 0, end = 0; first < frames; first = end) {
      end = first + kChunkFrames + (first == 0 ? frames % kChunkFrames : 0);
      pass.history.more_follows = end < frames;
      const auto chunk = z.slice(0, first, end);
      if (z.is_meta() && decoded.size() > 2 && end < frames)  // of a plan: it takes as much memory as the one before
        decoded.push_back(at::empty_like(decoded.back()));
      else
        decoded.push_back(decoder_(post_quant_conv_ ? (*post_quant_conv_)(chunk) : chunk, pass));
      progress.step(++done, total);
    }
    return at::cat(decoded);
  };
  std::vector<Tensor> videos;
  for (int64_t b = 0; b < batch; ++b) {
    const auto z = latents[b].permute({1, 2, 3, 0}).contiguous();  // [F, h, w, C]
    videos.push_back(in_tiles(z, grid, decode_tile).permute({3, 0, 1, 2}));
  }
  return batch == 1 ? videos[0].unsqueeze(0) : at::stack(videos);  // [B, 3, frames, H, W]
}

}  // namespace eav::cogvideox
