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
};

class CogVideoX : public Family {
 public:
  explicit CogVideoX(const std::filesystem::path& folder) : model_(std::make_shared<Model>(folder)) {}

  std::string name() const override { return "CogVideoX"; }
  std::vector<OptionSpec> options(const Settings& standards) const override {
    return model_->options({.standards = standards}).specs();
  }
  std::unique_ptr<VideoJob> open(Asked asked) const override;
  Inspection inspect() const override;
  std::vector<PartFiles*> parts(Phase phase) override;

 private:
  std::shared_ptr<Model> model_;
};

}  // namespace eav::cogvideox
