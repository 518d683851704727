// The causal 3D variational autoencoder of HunyuanVideo (diffusers' AutoencoderKLHunyuanVideo): its decoder,
// and the layers that its encoder (vae_encoder.h) shares with it.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/hunyuan_video/vae_config.h"
#include "nn/conv.h"
#include "nn/frames.h"
#include "nn/group_norm.h"
#include "nn/linear.h"
#include "nn/tiling.h"
#include "weights/weights.h"

namespace eav::hunyuan_video {

// What a convolution sees beyond the video: its first frame, before the beginning, and its border.
inline constexpr Surroundings kSurroundings{.past = CausalConv3d::kHistory, .future = 0, .border = Border::kReplicate};

// The tiles along height and width of the latents, where a picture is decoded in tiles.
Tiling tiling_of_space(const VaeConfig& c);

// conv(silu(norm(x))): how every convolution of the decoder but the first gets its input. Around the video lies what is
// on its border, in space and before its beginning.
struct NormedConv {
  GroupNorm norm;
  CausalConv3d conv;
  NormedConv(const Weights& norm, const Weights& conv, int64_t in, int64_t out, const VaeConfig& c)
      : norm(norm, in, c.norm_num_groups, kEps), conv(conv / "conv", in, out) {}

  // Memory for the normed frame t, which may be that of x[t]: it is asked for once, when x[t] was not yet normed and
  // all before it were.
  using Place = std::function<Tensor(int64_t t)>;
  // The result, added to the frames of `sum` where there are any. Normed frames live while the convolution sees them.
  Frames operator()(const Frames& x, const Place& place, Frames sum = {}) const;

  static constexpr double kEps = 1e-6;
};

struct ResnetBlock {
  NormedConv conv1, conv2;
  std::optional<PointwiseConv> conv_shortcut;  // where the number of channels changes
  ResnetBlock(const Weights& w, int64_t in, int64_t out, const VaeConfig& c);

  Frames operator()(Frames x) const;
};

// Attention with one head, from every position to those of its own frame and the frames before it.
struct Attention {
  GroupNorm group_norm;
  Linear to_q, to_k, to_v, to_out;
  Attention(const Weights& w, int64_t channels, const VaeConfig& c);

  Frames operator()(Frames x) const;
};

// Doubles the size, or the frames except the first, or both, to the nearest; then convolves.
struct Upsample {
  bool doubles_space, doubles_time;
  CausalConv3d conv;
  Upsample(const Weights& w, int64_t level, const VaeConfig& c);

  Frames operator()(Frames x) const;
};

struct MidBlock {
  ResnetBlock first;
  std::optional<Attention> attention;
  ResnetBlock second;
  MidBlock(const Weights& w, const VaeConfig& c);
};

struct UpBlock {
  std::vector<ResnetBlock> resnets;
  std::optional<Upsample> upsample;
  UpBlock(const Weights& w, int64_t level, const VaeConfig& c);
};

struct Decoder {
  CausalConv3d conv_in;
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
