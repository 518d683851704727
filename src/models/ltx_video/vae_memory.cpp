// The memory that LTX-Video's decoder and encoder take, counted.
#include <algorithm>

#include "models/ltx_video/vae.h"
#include "models/ltx_video/vae_encoder.h"

namespace eav::ltx_video {
namespace {

constexpr int64_t kUpsampled = 8;  // positions that upsampling makes of one: two frames of two by two

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
  if (const auto time = tiling_of_time(c, tiles)) latent_frames = std::min(latent_frames, time->latent_size + 1);
  if (const auto grid = tile_grid(c, tiles)) {
    latent_height = std::min(latent_height, grid->rows.latent_size);
    latent_width = std::min(latent_width, grid->columns.latent_size);
  }
  ElementCount count{c};
  count.decode(latent_frames, latent_height, latent_width);
  // Beside the video it is held as tiles, which overlap, and as the picture that they become.
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (count.peak + 4 * video) * element_size + kScratch;
}

int64_t encode_memory(const VaeEncoderConfig& e, int64_t frames, int64_t height, int64_t width, const Tiles& tiles,
                      int64_t element_size) {
  const auto& c = e.vae;
  const auto video = frames * height * width * c.out_channels;
  if (const auto time = tiling_of_time(c, tiles)) frames = std::min(frames, encoding(*time).latent_size + 1);
  if (const auto grid = tile_grid(c, tiles)) {
    height = std::min(height, grid->rows.latent_size * c.spatial_compression());
    width = std::min(width, grid->columns.latent_size * c.spatial_compression());
  }
  int64_t positions = height * width / (c.patch_size * c.patch_size), most = 0;
  for (const auto& level : e.levels) {
    // A level's input, what a resnet block makes of it, and what its convolution holds at once.
    const auto at_once = (std::min(frames, frames_at_once(frames, positions)) + 3) * positions;
    most = std::max(most, (2 * frames * positions + 2 * at_once) * std::max(level.in, level.out) +
                              (27 + 16 * 3) * level.in * level.out);
    frames = (frames - 1) / level.time_stride() + 1;
    positions /= level.space_stride() * level.space_stride();
  }
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (most + 2 * video) * element_size + kScratch;
}

}  // namespace eav::ltx_video
