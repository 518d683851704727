// The configuration of CogVideoX's autoencoder (diffusers' AutoencoderKLCogVideoX).
#pragma once
#include <cstdint>
#include <vector>

#include "weights/config.h"

namespace eav::cogvideox {

struct VaeConfig {
  std::vector<int64_t> block_out_channels;  // channels of each level, from the video's resolution to the latents'
  int64_t latent_channels;
  int64_t out_channels;                // of the video: 3
  int64_t layers_per_block;            // resnet blocks of an encoder's level; the decoder's have one more
  int64_t norm_num_groups;             // channel groups that are normalised together
  int64_t temporal_compression_ratio;  // video frames to a latent frame, a power of two
  int64_t sample_height;               // the size that it was trained for, in video pixels; tiles are half of it
  int64_t sample_width;
  double scaling_factor;      // latents are encodings times this
  bool invert_scale_latents;  // CogVideoX 1.5: encodings of pictures that condition the video are divided by it instead
  bool use_post_quant_conv;   // a pointwise convolution before the decoder

  // Throws eav::Error that names the field for values that cannot work.
  static VaeConfig read(const JsonFile& config);

  int64_t levels() const { return static_cast<int64_t>(block_out_channels.size()); }
  // Channels of the decoder's level, which counts from the latents' resolution to the video's.
  int64_t decoder_channels(int64_t level) const { return block_out_channels[levels() - 1 - level]; }
  // Video pixels to a latent one, along height and width.
  int64_t spatial_compression() const { return int64_t{1} << (levels() - 1); }
  // Whether the decoder doubles the frames after this level.
  bool doubles_time(int64_t level) const { return (temporal_compression_ratio >> (level + 1)) > 0; }
};

}  // namespace eav::cogvideox
