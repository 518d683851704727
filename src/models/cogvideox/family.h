// CogVideoX's checkpoints (diffusers' CogVideoXPipeline).
#pragma once
#include <filesystem>

#include "models/cogvideox/config.h"
#include "models/cogvideox/options.h"
#include "models/cogvideox/transformer.h"
#include "models/cogvideox/vae.h"
#include "models/family.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::cogvideox {

// A checkpoint, opened: its configurations and parts.
struct Model {
  static constexpr const char* kFamily = "CogVideoX";
  explicit Model(const std::filesystem::path& folder);

  std::filesystem::path folder;
  TransformerConfig config;
  VaeConfig vae_config;
  T5Config text_config;
  JsonFile scheduler_config;

  Lazy<Tokenizer> tokenizer;
  Part<T5Encoder> text_encoder;
  Part<Transformer> transformer;
  Part<Vae> vae;

  Options options(Asked asked) const;
  Inspection inspect() const;
  std::vector<PartFiles*> parts(Phase phase);
  static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);

 private:
  struct Size {
    int64_t width, height;
  };
  Size standard_size() const;
};

}  // namespace eav::cogvideox
