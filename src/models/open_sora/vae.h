// Open-Sora's autoencoder: pictures' latents frame by frame, and their latents over time.
#pragma once
#include <ATen/ATen.h>

#include <vector>

#include "eav/progress.h"
#include "models/open_sora/spatial_vae.h"
#include "models/open_sora/temporal_vae.h"
#include "models/open_sora/vae_config.h"
#include "weights/weights.h"

namespace eav::open_sora {

// What lies between latents and encodings: encodings = latents * scale + shift, a number for all channels or one each.
struct LatentScale {
  Tensor shift, scale;  // [1 or C]
  LatentScale(const Weights& w, const VaeConfig& c);
};

class Vae {
 public:
  // Takes the decoders' weights; unneeded_keys() are the encoders'.
  Vae(const Weights& w, const VaeConfig& c);

  // latents [1, C, F, h, w] -> video [1, 3, frames, H, W], about -1..1; the latents are those of so many frames.
  Tensor decode(const Tensor& latents, int64_t frames, Progress& progress) const;

  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  LatentScale latent_scale_;
  TemporalDecoder temporal_;
  SpatialDecoder spatial_;
};

class VaeEncoder {
 public:
  // Takes the encoders' weights; unneeded_keys() are the decoders'.
  VaeEncoder(const Weights& w, const VaeConfig& c);

  // video [1, 3, frames, H, W] in -1..1 -> latents [1, C, F, h, w], the modes of both stages' distributions.
  Tensor operator()(const Tensor& video, const Progress& progress) const;

  static std::vector<UnneededKey> unneeded_keys();

 private:
  VaeConfig config_;
  LatentScale latent_scale_;
  SpatialEncoder spatial_;
  TemporalEncoder temporal_;
};

// The most memory in bytes that coding a video of this size takes beside weights; the video is included.
int64_t vae_memory(const VaeConfig& c, int64_t frames, int64_t height, int64_t width, int64_t element_size);

}  // namespace eav::open_sora
