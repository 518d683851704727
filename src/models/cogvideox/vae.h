// The causal 3D variational autoencoder of CogVideoX (diffusers' AutoencoderKLCogVideoX): its decoder.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <unordered_map>
#include <vector>

#include "eav/progress.h"
#include "models/cogvideox/vae_config.h"
#include "nn/conv.h"
#include "nn/group_norm.h"
#include "weights/weights.h"

namespace eav::cogvideox {

// Inside the decoder one video is a tensor [T, H, W, C]: a frame is a slice of memory, and a position's channels lie
// together. The latents that its norms look at stay at their own resolution, z [Tz, h, w, Cz].

// The last frames that each causal convolution saw, from which it continues in the next batch of frames.
struct FrameHistory {
  bool more_follows = true;                                // false during the last batch, whose frames nobody will need
  std::unordered_map<const CausalConv3d*, Tensor> frames;  // [CausalConv3d::kHistory, H, W, C]

  std::optional<Tensor> take(const CausalConv3d& conv);
  void leave(const CausalConv3d& conv, const Tensor& last_frames);
};

// A group norm whose result is scaled and shifted, at each position, by linear maps of the latents there.
struct SpatialNorm {
  // What norm and latents make of a video of T frames, as one scale and shift for all that lies within a latent pixel.
  struct Modulation {
    int64_t frames;       // T
    Tensor scale, shift;  // [Tz, h, w, C], float32
    // out = silu(x * scale + shift) for frame t of the video, [H, W, C].
    void apply_silu(int64_t t, const Tensor& x, const Tensor& out) const;
  };

  GroupNorm norm;
  PointwiseConv conv_y, conv_b;
  SpatialNorm(const Weights& w, int64_t channels, const VaeConfig& c);

  Modulation operator()(const Tensor& x, const Tensor& z) const;
};

// conv(silu(norm(x))): how every convolution of the decoder but the first gets its input.
struct NormedConv {
  SpatialNorm norm;
  CausalConv3d conv;
  NormedConv(const Weights& norm, const Weights& conv, int64_t in, int64_t out, const VaeConfig& c);

  // x [T, H, W, in] -> out [T, H, W, out], replaced or added to. Some frames at a time, so that the normed video is
  // never held as a whole.
  void operator()(const Tensor& x, const Tensor& z, FrameHistory& history, const Tensor& out,
                  Write write = Write::kReplace) const;
};

struct ResnetBlock {
  NormedConv conv1, conv2;
  std::optional<PointwiseConv> conv_shortcut;  // where the number of channels changes
  ResnetBlock(const Weights& w, int64_t in, int64_t out, const VaeConfig& c);

  Tensor operator()(Tensor x, const Tensor& z, FrameHistory& history) const;
};

// Doubles height and width, and the frames too where `doubles_time`; then convolves every frame.
struct Upsample {
  bool doubles_time;
  Conv2d conv;
  Upsample(const Weights& w, int64_t channels, bool doubles_time)
      : doubles_time(doubles_time), conv(w / "conv", channels, channels) {}

  Tensor operator()(const Tensor& x) const;
};

struct UpBlock {
  std::vector<ResnetBlock> resnets;
  std::optional<Upsample> upsample;
  UpBlock(const Weights& w, int64_t level, const VaeConfig& c);
};

struct Decoder {
  CausalConv3d conv_in;
  std::vector<ResnetBlock> mid;
  std::vector<UpBlock> up;
  NormedConv conv_out;
  Decoder(const Weights& w, const VaeConfig& c);

  // Decodes the next frames of a video: z [Tz, h, w, Cz] -> [T, H, W, 3].
  Tensor operator()(const Tensor& z, FrameHistory& history, const Progress& progress) const;
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
  struct Job;
  Tensor decode_video(const Tensor& z, Job& job) const;

  VaeConfig config_;
  std::optional<PointwiseConv> post_quant_conv_;
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      bool tiling, int64_t element_size);

}  // namespace eav::cogvideox
