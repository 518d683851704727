// The causal 3D variational autoencoder of HunyuanVideo (diffusers' AutoencoderKLHunyuanVideo): its decoder,
// and the layers that its encoder (vae_encoder.h) shares with it.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/hunyuan_video/vae_config.h"
#include "nn/frames.h"
#include "nn/resnet.h"
#include "nn/tiling.h"
#include "weights/weights.h"

namespace eav::hunyuan_video {

// Frames before its own that a convolution sees.
inline constexpr int64_t kPast = 2;

// The tiles along height and width of the latents, where a picture is decoded in tiles.
Tiling tiling_of_space(const VaeConfig& c);

// The layers of both halves. Around the video lies what is on its border, in space and before its beginning.
VideoConv causal_conv(const Weights& w, int64_t in, int64_t out);
NormedConv normed_conv(const Weights& norm, const Weights& conv, int64_t in, int64_t out, const VaeConfig& c);
ResnetBlock resnet_block(const Weights& w, int64_t in, int64_t out, const VaeConfig& c);
MidBlock mid_block(const Weights& w, const VaeConfig& c);

// Doubles the size, or the frames except the first, or both, to the nearest; then convolves.
struct Upsample {
  bool doubles_space, doubles_time;
  VideoConv conv;
  Upsample(const Weights& w, int64_t level, const VaeConfig& c);

  Frames operator()(Frames x) const;
};

struct UpBlock {
  std::vector<ResnetBlock> resnets;
  std::optional<Upsample> upsample;
  UpBlock(const Weights& w, int64_t level, const VaeConfig& c);
};

struct Decoder {
  VideoConv conv_in;
  MidBlock mid;
  std::vector<UpBlock> up;
  NormedConv conv_out;
  Decoder(const Weights& w, const VaeConfig& c);

  // z [F, h, w, Cz] -> [T, H, W, 3]
  Tensor operator()(const Tensor& z, const Progress& progress) const;
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [B, C, F, h, w], already divided by the scaling factor -> video [B, 3, frames, H, W], about -1..1. More
  // than four latent frames are decoded in overlapping tiles of time, which are blended, as the model was made for.
  // With `tiling`, so is a picture larger than a tile: it takes less memory, and the result differs a little.
  Tensor decode(const Tensor& latents, bool tiling, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  struct Job;
  void decode_video(const Tensor& z, const Tensor& video, Job& job) const;

  VaeConfig config_;
  PointwiseConv post_quant_conv_;
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size);

}  // namespace eav::hunyuan_video
