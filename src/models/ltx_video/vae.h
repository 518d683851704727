// The 3D variational autoencoder of LTX-Video (diffusers' AutoencoderKLLTXVideo): its decoder. The later generations
// also take the last step of denoising: the decoder is told the noise that is left in the latents.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "eav/progress.h"
#include "models/ltx_video/vae_blocks.h"
#include "models/ltx_video/vae_config.h"
#include "weights/weights.h"

namespace eav::ltx_video {

// Doubles frames, height and width: a convolution makes the channels of eight positions of each. The first frame's
// earlier half is dropped.
struct DepthToSpace {
  Conv3d conv;
  bool residual;
  DepthToSpace(const Weights& w, const VaeLevel& level, const VaeConfig& c);

  Frames operator()(Frames x, Pass& pass) const;
};

// The middle block or an up block.
struct Block {
  std::optional<Resnet> conv_in;  // where the number of channels changes
  std::optional<TimeEmbedder> time_embedder;
  std::optional<DepthToSpace> upsample;
  std::vector<Resnet> resnets;
  Block(const Weights& w, const VaeLevel& level, const VaeConfig& c);

  // `timestep` [1] as the embedder takes it
  Frames operator()(Frames x, Pass& pass, const std::optional<Tensor>& timestep,
                    const std::optional<at::Generator>& generator) const;
};

struct Decoder {
  Conv3d conv_in;
  std::vector<Block> blocks;
  NormedConv<RmsNormSilu> conv_out;
  int64_t patch_size;
  std::optional<TimeEmbedder> time_embedder;
  std::optional<Tensor> scale_shift_table;          // [2, C]
  std::optional<Tensor> timestep_scale_multiplier;  // []
  Decoder(const Weights& w, const VaeConfig& c);

  // z [F, h, w, Cz], timestep [1] -> [T, H, W, 3]
  Tensor operator()(const Tensor& z, const std::optional<Tensor>& timestep,
                    const std::optional<at::Generator>& generator, const Progress& progress) const;
};

// Means and deviations of the latents' channels: what the transformer works with is normalised.
struct LatentStatistics {
  Tensor mean, std;  // [C]
  double scaling_factor;
  LatentStatistics(const Weights& w, const VaeConfig& c);

  // Latents [B, C, F, h, w] of the transformer -> those that are decoded, and back.
  Tensor denormalize(const Tensor& latents) const;
  Tensor normalize(const Tensor& latents) const;

  // Keys of the checkpoint that they do not need.
  static std::vector<UnneededKey> unneeded_keys();
};

class Vae {
 public:
  // Takes the decoder's weights; unneeded_keys() are the encoder's.
  Vae(const Weights& w, const VaeConfig& c);

  // What the transformer works with [B, C, F, h, w] -> latents to decode.
  Tensor denormalize(const Tensor& latents) const { return statistics_.denormalize(latents); }

  // latents [B, C, F, h, w] -> video [B, 3, frames, H, W], about -1..1. `timestep` [B] is the part of noise in the
  // latents, where the decoder is conditioned on it; the generator gives noise where it injects any, the same to every
  // video.
  Tensor decode(const Tensor& latents, const std::optional<Tensor>& timestep, const Tiles& tiles,
                std::optional<at::Generator> generator, Progress& progress) const;

  // Keys of the checkpoint that decoding does not need.
  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  LatentStatistics statistics_;
  Decoder decoder_;
};

// The most memory in bytes that decoding latents of this size, one video, takes beside weights and latents; the video
// is included.
int64_t decode_memory(const VaeConfig& c, int64_t latent_frames, int64_t latent_height, int64_t latent_width,
                      const Tiles& tiles, int64_t element_size);

}  // namespace eav::ltx_video
