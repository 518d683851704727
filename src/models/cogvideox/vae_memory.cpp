// The memory that CogVideoX's decoder takes, counted.
#include <algorithm>

#include "models/cogvideox/vae.h"

namespace eav::cogvideox {
namespace {

constexpr int64_t kPast = 2;  // frames before its own that a convolution sees

// Walks through the decoder as Decoder does and counts elements instead of computing them.
struct ElementCount {
  const VaeConfig& c;
  bool more_follows;
  int64_t history = 0, peak = 0;

  void held(int64_t elements) { peak = std::max(peak, history + elements); }

  // One NormedConv beside `others`, which include its input and its result.
  void convolve(int64_t frames, int64_t positions, int64_t in, int64_t out, int64_t others) {
    constexpr int64_t kTransformed = 16 * 3;  // elements of a Winograd transform of a 3x3x3 weight
    const auto window = kPast + frames_at_once(frames, positions);
    held(others + window * positions * in + kTransformed * in * out);
    if (more_follows) history += kPast * positions * in;
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
    latent_height = std::min(latent_height, tile_grid(c).rows.latent_size);
    latent_width = std::min(latent_width, tile_grid(c).columns.latent_size);
  }
  const auto first_frames = std::min(latent_frames, kChunkFrames + latent_frames % kChunkFrames);
  ElementCount first{c, first_frames < latent_frames};
  first.decode(first_frames, latent_height, latent_width);
  // What a later batch takes out of the history it puts back.
  ElementCount later{c, false, first.history};
  if (first.more_follows) later.decode(kChunkFrames, latent_height, latent_width);
  // Batches and tiles are held beside the video that they are joined to.
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (std::max(first.peak, later.peak) + 2 * video) * element_size + kScratch;
}

}  // namespace eav::cogvideox
