// The memory that HunyuanVideo's decoder and encoder take, counted.
#include <algorithm>

#include "models/hunyuan_video/vae.h"
#include "models/hunyuan_video/vae_encoder.h"

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kPast = 2;  // frames before its own that a convolution sees
constexpr int64_t kPictureChannels = 3;

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
  const auto tile_frames = std::min(latent_frames, tiling_of_time(c).latent_size + 1);
  if (tiling) {
    latent_height = std::min(latent_height, tile_grid(c).rows.latent_size);
    latent_width = std::min(latent_width, tile_grid(c).columns.latent_size);
  }
  ElementCount count{c};
  count.decode(tile_frames, latent_height, latent_width);
  // Beside the video, a tile of time is held as tiles of space, which overlap, and as the picture that they become.
  const auto video = (c.video_frames(latent_frames) + 3 * c.video_frames(tile_frames)) * frame;
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  const auto gaps = count.peak / 6;       // between frames of different sizes: measured, an eighth and less
  return (count.peak + gaps + video) * element_size + kScratch;
}

int64_t encode_memory(const VaeConfig& c, int64_t height, int64_t width, bool tiling, int64_t element_size) {
  const auto picture = 2 * kPictureChannels * height * width;
  const auto tiles = encoding(tile_grid(c));
  if (tiling) height = std::min(height, tiles.rows.latent_size), width = std::min(width, tiles.columns.latent_size);
  int64_t positions = height * width, most = 0, in = c.block_out_channels[0];
  for (int64_t level = 0; level < c.levels(); ++level) {
    // A level's input, its normed copy, what a convolution makes of it and that one's residual; the strided convolution
    // sees three copies of the frame.
    const auto out = c.block_out_channels[level];
    constexpr int64_t kTensors = 4, kTransformed = 27 + 16 * 3;  // elements of a weight and its Winograd transform
    most = std::max(most, (kTensors + 2 * kPast) * positions * std::max(in, out) + kTransformed * in * out);
    if (c.doubles_space(level)) positions /= 4;
    in = out;
  }
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (most + picture) * element_size + kScratch;
}

}  // namespace eav::hunyuan_video
