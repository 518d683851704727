// The memory that Open-Sora's autoencoder takes, counted.
#include <algorithm>

#include "models/open_sora/vae.h"
#include "nn/conv.h"

namespace eav::open_sora {
namespace {

// The most elements that decoding, or encoding, a frame of this size takes beside weights.
int64_t frame_elements(const SpatialVaeConfig& c, int64_t height, int64_t width) {
  int64_t most = 0, positions = height * width;
  for (int64_t level = 0; level < c.levels(); ++level) {
    // The decoder's level has the input of its first block, which may come from a level of more channels, its normed
    // copy, and what a convolution makes of it; and a Winograd transform of a weight.
    const auto out = c.block_out_channels[level], in = c.block_out_channels[std::min(level + 1, c.levels() - 1)];
    most = std::max(most, positions * (2 * std::max(in, out) + 2 * out) + 16 * in * out);
    positions /= 4;
  }
  return most;
}

// The most elements that coding so many frames of h x w takes beside weights.
int64_t video_elements(const TemporalVaeConfig& c, int64_t frames, int64_t height, int64_t width) {
  const auto widest = *std::ranges::max_element(c.channel_multipliers) * c.filters;
  // At the full number of frames a level has its input, which is what doubled the frames, and two more of its size.
  const auto window = std::min(frames, frames_at_once(frames, height * width) + 2);
  return (4 * frames + window) * height * width * widest + 48 * widest * widest;
}

}  // namespace

int64_t vae_memory(const VaeConfig& c, int64_t frames, int64_t height, int64_t width, int64_t element_size) {
  const auto ratio = c.spatial.compression();
  const auto stages = std::max(frame_elements(c.spatial, height, width),
                               video_elements(c.temporal, c.batch_frames(frames), height / ratio, width / ratio));
  constexpr int64_t kScratch = 48 << 20;  // bytes that kernels and the allocator keep, whatever the size
  return (stages + 2 * frames * 3 * height * width) * element_size + kScratch;
}

}  // namespace eav::open_sora
