// The configuration of Wan's autoencoders (diffusers' AutoencoderKLWan): that of 2.1, and that of 2.2's TI2V.
#pragma once
#include <cstdint>
#include <vector>

#include "weights/config.h"

namespace eav::wan {

struct VaeConfig {
  int64_t base_dim, decoder_base_dim;  // channels at the video's resolution, which dim_mult multiplies
  std::vector<int64_t> dim_mult;       // one for each level, from the video's resolution to the latents'
  int64_t z_dim;                       // channels of the latents
  int64_t num_res_blocks;              // residual blocks of an encoder's level; the decoder's have one more
  // Whether the frames are halved too, where height and width are: between a level and the next.
  std::vector<bool> temperal_downsample;
  bool is_residual;                               // 2.2: shortcuts lead around whole levels
  int64_t patch_size;                             // pixels along height and width that are one position: 2.2
  std::vector<double> latents_mean, latents_std;  // [z_dim], of what is encoded

  // Throws eav::Error that names the field for values that cannot work.
  static VaeConfig read(const JsonFile& config);

  static constexpr int64_t kColours = 3;
  static constexpr int64_t kTemporalCompression = 4;  // video frames to a latent frame, except the first

  int64_t levels() const { return static_cast<int64_t>(dim_mult.size()); }
  // Channels of a position of the video: its colours, or those of the pixels of a patch.
  int64_t patch_channels() const { return kColours * patch_size * patch_size; }
  int64_t spatial_compression() const { return patch_size << (levels() - 1); }
  int64_t temporal_compression() const { return kTemporalCompression; }
  // Video frames that this many latent frames decode to.
  int64_t video_frames(int64_t latent_frames) const { return 1 + (latent_frames - 1) * kTemporalCompression; }
};

}  // namespace eav::wan
