// The configuration of Open-Sora's autoencoder, which works in two stages: a picture's, frame by frame, and that of the
// pictures' latents over time.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "weights/config.h"

namespace eav::open_sora {

// "VideoAutoencoderKL": diffusers' AutoencoderKL of every frame.
struct SpatialVaeConfig {
  std::vector<int64_t> block_out_channels;  // channels of each level, from the picture's resolution to the latents'
  int64_t layers_per_block;                 // resnet blocks of an encoder's level; the decoder's have one more
  int64_t latent_channels;
  int64_t norm_num_groups;  // channel groups that are normalised together
  bool mid_block_add_attention;

  int64_t levels() const { return static_cast<int64_t>(block_out_channels.size()); }
  // Pixels to a latent one, along height and width.
  int64_t compression() const { return int64_t{1} << (levels() - 1); }
};

// "VAE_Temporal", and "VAE_Temporal_SD", which names all of its fields.
struct TemporalVaeConfig {
  int64_t in_out_channels;   // latent channels of a picture
  int64_t embed_dim;         // latent channels of a video,
  int64_t latent_embed_dim;  // and those inside the encoder and the decoder
  int64_t filters;           // channels of the first level
  int64_t num_res_blocks;    // of each level
  std::vector<int64_t> channel_multipliers;
  std::vector<bool> temporal_downsample;  // after each level but the last
  int64_t num_groups;                     // channel groups that are normalised together

  int64_t levels() const { return static_cast<int64_t>(channel_multipliers.size()); }
  int64_t channels(int64_t level) const { return filters * channel_multipliers[level]; }
  // Frames to a latent one.
  int64_t compression() const;
};

struct VaeConfig {
  SpatialVaeConfig spatial;
  TemporalVaeConfig temporal;
  std::optional<int64_t> micro_frame_size;  // frames that go through the second stage together; unset: all
  std::vector<double> shift, scale;         // encodings are latents * scale + shift, one number or one a channel

  // Throws eav::Error that names the field for values that cannot work.
  static VaeConfig read(const JsonFile& config);

  // Latent frames of this many video frames.
  int64_t latent_frames(int64_t frames) const;
  // Frames, and latent frames, that go through the second stage together, at most.
  int64_t batch_frames(int64_t frames) const { return micro_frame_size.value_or(frames); }
  int64_t batch_latents(int64_t frames) const;
};

}  // namespace eav::open_sora
