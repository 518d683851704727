// The configuration of LTX-Video's autoencoder (diffusers' AutoencoderKLLTXVideo): of its decoder and its encoder.
#pragma once
#include <cstdint>
#include <vector>

#include "weights/config.h"

namespace eav::ltx_video {

// Resnet blocks of one resolution. The first level is the middle block, at the latents' resolution.
struct VaeLevel {
  int64_t in, out;              // channels
  int64_t layers;               // resnet blocks of `out` channels
  bool inject_noise;            // into what each convolution of a resnet block makes
  bool upsamples;               // doubles frames, height and width before the blocks
  bool upsample_residual;       // adds the input, its channels rearranged, to what the upsampling convolution makes
  int64_t upsample_factor = 1;  // the upsampling takes so many times `out` channels
};

struct VaeConfig {
  int64_t latent_channels;
  int64_t out_channels;          // of the video: 3
  std::vector<VaeLevel> levels;  // the middle block and the up blocks, from the latents' resolution to the video's
  int64_t patch_size;            // pixels along height and width that the last convolution makes of one position
  double resnet_norm_eps;
  double scaling_factor;
  bool timestep_conditioning;  // how much noise is left in the latents is told to the decoder
  bool decoder_causal;         // frames see none after them

  // Throws eav::Error that names the field for values that cannot work.
  static VaeConfig read(const JsonFile& config);

  int64_t temporal_compression() const;
  int64_t spatial_compression() const { return patch_size * temporal_compression(); }
  // Video frames that this many latent frames decode to.
  int64_t video_frames(int64_t latent_frames) const { return 1 + (latent_frames - 1) * temporal_compression(); }
  bool injects_noise() const;
};

// How a level of the encoder halves what: `convolution` all three axes, with a stride; the others by moving positions
// into channels, which are then averaged.
enum class Halving { none, convolution, spatial, temporal, spatiotemporal };

// Resnet blocks of one resolution, before what halves it.
struct VaeEncoderLevel {
  int64_t in, out;  // channels; a resnet block changes their number, except where positions become channels
  int64_t layers;   // resnet blocks of `in` channels
  Halving halving;

  bool rearranges() const { return halving > Halving::convolution; }
  int64_t time_stride() const { return halving == Halving::none || halving == Halving::spatial ? 1 : 2; }
  int64_t space_stride() const { return halving == Halving::none || halving == Halving::temporal ? 1 : 2; }
};

struct VaeEncoderConfig {
  VaeConfig vae;
  std::vector<VaeEncoderLevel> levels;  // from the video's resolution to the latents'
  int64_t mid_layers;                   // resnet blocks of the middle block
  bool causal;                          // frames see none after them

  // Throws eav::Error that names the field for values that cannot work, or where it does not belong to the decoder.
  static VaeEncoderConfig read(const JsonFile& config);
};

}  // namespace eav::ltx_video
