// The configuration of HunyuanVideo's autoencoder (diffusers' AutoencoderKLHunyuanVideo).
#pragma once
#include <cstdint>
#include <vector>

#include "weights/config.h"

namespace eav::hunyuan_video {

struct VaeConfig {
  std::vector<int64_t> block_out_channels;  // channels of each level, from the video's resolution to the latents'
  int64_t latent_channels;
  int64_t out_channels;                // of the video: 3
  int64_t layers_per_block;            // resnet blocks of an encoder's level; the decoder's have one more
  int64_t norm_num_groups;             // channel groups that are normalised together
  int64_t spatial_compression_ratio;   // video pixels to a latent one, along height and width: a power of two
  int64_t temporal_compression_ratio;  // video frames to a latent frame, except the first: 4
  double scaling_factor;               // latents are encodings times this
  bool mid_block_add_attention;        // attention between the first two resnet blocks

  // Throws eav::Error that names the field for values that cannot work.
  static VaeConfig read(const JsonFile& config);

  int64_t levels() const { return static_cast<int64_t>(block_out_channels.size()); }
  // Channels of the decoder's level, which counts from the latents' resolution to the video's.
  int64_t decoder_channels(int64_t level) const { return block_out_channels[levels() - 1 - level]; }
  // Whether the decoder doubles height and width after this level, and the frames; and whether the encoder, whose
  // levels count from the video's resolution to the latents', halves them after its level of this number.
  bool doubles_space(int64_t level) const { return (spatial_compression_ratio >> (level + 1)) > 0; }
  bool doubles_time(int64_t level) const;

  int64_t spatial_compression() const { return spatial_compression_ratio; }
  // Video frames that this many latent frames decode to.
  int64_t video_frames(int64_t latent_frames) const { return 1 + (latent_frames - 1) * temporal_compression_ratio; }
};

}  // namespace eav::hunyuan_video
