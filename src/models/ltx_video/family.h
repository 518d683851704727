// LTX-Video's checkpoints (diffusers' LTXPipeline, LTXImageToVideoPipeline and LTXConditionPipeline).
#pragma once
#include <optional>

#include "models/family.h"
#include "models/ltx_video/config.h"
#include "models/ltx_video/latent_upsampler.h"
#include "models/ltx_video/layout.h"
#include "models/ltx_video/options.h"
#include "models/ltx_video/transformer.h"
#include "models/ltx_video/vae.h"
#include "models/ltx_video/vae_encoder.h"
#include "models/media.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::ltx_video {

// A checkpoint, opened: its configurations and parts.
struct Model {
  static constexpr const char* kFamily = "LTX-Video";
  explicit Model(const ModelPaths& paths) : Model(Layout::of_folder(paths)) {}
  explicit Model(Layout layout);

  Layout layout;
  TransformerConfig config;
  VaeConfig vae_config;
  T5Config text_config;

  Lazy<Tokenizer> tokenizer;
  Part<T5Encoder> text_encoder;
  Part<Transformer> transformer;
  Part<VaeEncoder> vae_encoder;
  Part<Vae> vae;
  Part<LatentStatistics> statistics;  // of the VAE
  std::optional<Part<LatentUpsampler>> latent_upsampler;
  mutable PictureReader pictures;  // for all jobs

  // Throws eav::Error where the checkpoint's VAE has none.
  VaeEncoderConfig encoder_config() const { return VaeEncoderConfig::read(layout.vae.config); }
  Options options(Asked asked) const;
  std::optional<PassSteps> passes() const;  // nothing without an upsampler
  std::string note() const;
  Inspection inspect() const;
  std::vector<PartFiles*> parts(Phase phase);
  static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);
};

}  // namespace eav::ltx_video
