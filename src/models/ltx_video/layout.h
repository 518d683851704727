// Where the parts of an LTX-Video lie, and their configurations as diffusers writes them.
#pragma once
#include <functional>
#include <optional>

#include "eav/generator.h"
#include "text/tokenizer.h"
#include "weights/config.h"
#include "weights/part.h"

namespace eav::ltx_video {

struct Layout {
  std::filesystem::path model;  // as it was named
  bool conditional;             // LTXConditionPipeline serves it
  bool distilled;               // to few steps without guidance
  JsonFile scheduler_config;
  PartSource text_encoder, transformer, vae;
  std::function<Tokenizer()> open_tokenizer;
  std::optional<PartSource> latent_upsampler;  // where one is given

  // That of a folder that diffusers saved, with what `paths` names beside it. Throws eav::Error.
  static Layout of_folder(const ModelPaths& paths);
};

// Transformer blocks of a release of 13B.
inline constexpr int64_t kLargeLayers = 48;

// A word in the names of checkpoints that are distilled.
inline constexpr const char* kDistilledName = "distilled";

}  // namespace eav::ltx_video
