// The causal 3D variational autoencoder of CogVideoX (diffusers' AutoencoderKLCogVideoX): its decoder.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/cogvideox/vae_config.h"
#include "nn/conv.h"
#include "nn/group_norm.h"
#include "vae/conv.h"
#include "vae/norm.h"
#include "vae/resample.h"
#include "vae/resnet.h"
#include "vae/tiling.h"
#include "weights/weights.h"

namespace eav::cogvideox {

// The video is decoded in chunks of few frames, each in one block of memory. The latents that the norms look at stay at
// their own resolution, z [Tz, h, w, Cz].

// Latent frames that are decoded together. The first chunk takes one more of an odd number.
inline constexpr int64_t kChunkFrames = 2;

// The tiles of latents, where a picture is decoded in tiles.
TileGrid tile_grid(const VaeConfig& c);

// A group norm whose result is scaled and shifted, at each position, by linear maps of the latents there; then SiLU.
struct SpatialNormSilu {
  GroupNorm norm;
  PointwiseConv conv_y, conv_b;
  SpatialNormSilu(const Weights& w, int64_t channels, const VaeConfig& c);

  NormedSilu operator()(const Frames& x, const Tensor& z) const;
};

struct Decoder {
  using Resnet = ResnetBlock<SpatialNormSilu>;
  using UpLevel = Level<Resnet, Upsample>;

  Conv3d conv_in;
  std::vector<Resnet> mid;
  std::vector<UpLevel> up;
  NormedConv<SpatialNormSilu> conv_out;
  Decoder(const Weights& w, const VaeConfig& c);

  // Decodes the next frames of a video: z [Tz, h, w, Cz] -> [T, H, W, 3].
  Tensor operator()(const Tensor& z, Pass& pass) const;
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [B, C, F, h, w], already divided by the scaling factor -> video [B, 3, frames, H, W], about -1..1. With
  // `tiling`, a picture larger than a tile is decoded in overlapping tiles, which are blended: it takes less memory,
  // and the result differs a little.
  Tensor decode(const Tensor& latents, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  std::optional<PointwiseConv> post_quant_conv_;
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size);

}  // namespace eav::cogvideox
