// The configuration of Open-Sora's transformer (STDiT3).
#pragma once
#include <cstdint>

#include "eav/grid.h"
#include "weights/config.h"

namespace eav::open_sora {

struct TransformerConfig {
  int64_t hidden_size;       // channels of a token
  int64_t depth;             // pairs of a spatial and a temporal block
  int64_t num_heads;         // of attention
  int64_t mlp_channels;      // of the feed-forward's hidden layer
  int64_t in_channels;       // latent channels
  int64_t out_channels;      // in_channels, or twice as many where a variance is predicted too
  int64_t caption_channels;  // channels of the text encoder's output
  int64_t model_max_length;  // tokens of a caption
  int64_t patch_size;        // height and width of a patch of latents; in time it is 1
  double input_sq_size;      // the side of a square video whose positions are not scaled
  bool qk_norm;

  // Throws eav::Error that names the field for values that cannot work.
  static TransformerConfig read(const JsonFile& config);

  int64_t head_dim() const { return hidden_size / num_heads; }
  // The tokens of latents of this size, which are filled up to whole patches.
  Grid grid(int64_t frames, int64_t height, int64_t width) const {
    const auto patches = [&](int64_t length) { return (length + patch_size - 1) / patch_size; };
    return {frames, patches(height) * patches(width)};
  }
};

}  // namespace eav::open_sora
