// The 3D variational autoencoder of LTX-Video (diffusers' AutoencoderKLLTXVideo): its decoder. The later generations
// also take the last step of denoising: the decoder is told the noise that is left in the latents.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/ltx_video/vae_config.h"
#include "nn/conv.h"
#include "nn/embeddings.h"
#include "nn/frames.h"
#include "nn/layer_norm.h"
#include "nn/tiling.h"
#include "weights/weights.h"

namespace eav::ltx_video {

// What is decoded or encoded in overlapping tiles, which are blended: it takes less memory, and the result differs.
struct Tiles {
  bool space = false;  // pictures larger than a tile
  bool time = false;   // videos longer than one: frame-wise, as diffusers calls it
};

// The tiles along both axes of a picture, and those along time.
Tiling tiling_of(const VaeConfig& c);
Tiling tiling_of_time(const VaeConfig& c);

// A video longer than `tiling.latent_size` in parts of that and one frame more, blended: x [F, ...] -> [frames, ...].
// Of every part but the first, a frame is dropped: its first or its last.
Tensor in_parts(const Tensor& x, const Tiling& tiling, bool drop_first, int64_t frames,
                const std::function<Tensor(const Tensor&)>& code);

// A 3x3x3 convolution. Before and after the video lie its first and last frame, or the first twice before it where the
// convolution is causal; around a frame lie zeros.
struct Conv3d {
  Tensor weight;               // [out, in, 3, 3, 3]
  std::optional<Tensor> bias;  // [out]
  Surroundings around;
  Conv3d(const Weights& w, int64_t in, int64_t out, bool causal);
};

// conv(silu(rms_norm(x) * (1 + scale) + shift)): how every convolution of the decoder but the first and those that
// upsample gets its input.
struct NormedConv {
  Conv3d conv;

  // Memory for the normed frame t, which may be that of x[t]: it is asked for once, when x[t] was not yet normed and
  // all before it were.
  using Place = std::function<Tensor(int64_t t)>;
  // `modulation` [2, C] holds shift and scale. The result, added to the frames of `sum` where there are any.
  Frames operator()(const Frames& x, const std::optional<Tensor>& modulation, const Place& place,
                    Frames sum = {}) const;
};

// What a timestep makes of `tables` rows of C channels, beside what is learned for each block: [1] -> [tables, C].
struct TimeEmbedder {
  TimestepEmbedding timestep_embedder;
  int64_t tables;
  TimeEmbedder(const Weights& w, int64_t tables, int64_t channels);

  Tensor operator()(const Tensor& timestep, at::ScalarType type) const;
};

struct ResnetOptions {
  bool causal;
  double eps;  // of the norm before a shortcut
  bool timestep_conditioning = false, inject_noise = false;
};

struct ResnetBlock {
  NormedConv conv1, conv2;
  std::optional<LayerNorm> norm3;                                // where the number of channels changes
  std::optional<PointwiseConv> conv_shortcut;                    // and this after it
  std::optional<Tensor> scale_shift_table;                       // [4, C]: shift and scale of both norms
  std::optional<Tensor> per_channel_scale1, per_channel_scale2;  // [C, 1, 1], of injected noise
  ResnetBlock(const Weights& w, int64_t in, int64_t out, const ResnetOptions& options);

  // temb [4, C]
  Frames operator()(Frames x, const std::optional<Tensor>& temb = {},
                    const std::optional<at::Generator>& generator = {}) const;
};

// Doubles frames, height and width: a convolution makes the channels of eight positions of each. The first frame's
// earlier half is dropped.
struct Upsample {
  Conv3d conv;
  bool residual;
  Upsample(const Weights& w, const VaeLevel& level, const VaeConfig& c);

  Frames operator()(Frames x) const;
};

// The middle block or an up block.
struct Block {
  std::optional<ResnetBlock> conv_in;  // where the number of channels changes
  std::optional<TimeEmbedder> time_embedder;
  std::optional<Upsample> upsample;
  std::vector<ResnetBlock> resnets;
  Block(const Weights& w, const VaeLevel& level, const VaeConfig& c);
};

struct Decoder {
  Conv3d conv_in;
  std::vector<Block> blocks;
  NormedConv conv_out;
  int64_t patch_size;
  std::optional<TimeEmbedder> time_embedder;
  std::optional<Tensor> scale_shift_table;          // [2, C]
  std::optional<Tensor> timestep_scale_multiplier;  // []
  Decoder(const Weights& w, const VaeConfig& c);

  // z [F, h, w, Cz], timestep [1] -> [T, H, W, 3]
  Tensor operator()(const Tensor& z, const std::optional<Tensor>& timestep,
                    const std::optional<at::Generator>& generator, const Progress& progress) const;
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // What the transformer works with [B, C, F, h, w] -> latents to decode.
  Tensor denormalize(const Tensor& latents) const;

  // latents [B, C, F, h, w] -> video [B, 3, frames, H, W], about -1..1. `timestep` [B] is the part of noise in the
  // latents, where the decoder is conditioned on it; the generator gives noise where it injects any, the same to every
  // video.
  Tensor decode(const Tensor& latents, const std::optional<Tensor>& timestep, const Tiles& tiles,
                std::optional<at::Generator> generator, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  Tensor latents_mean_, latents_std_;  // [C]
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      const Tiles& tiles, int64_t element_size);

}  // namespace eav::ltx_video
