// Where the parts of an LTX-Video lie, and their configurations as diffusers writes them.
#pragma once
#include <filesystem>

#include "weights/config.h"
#include "weights/weights.h"

namespace eav::ltx_video {

struct Layout {
  std::filesystem::path model;  // as it was named
  bool conditional;             // LTXConditionPipeline serves it
  bool distilled;               // to few steps without guidance
  JsonFile transformer_config, vae_config, scheduler_config;
  CheckpointSource transformer, vae;
  std::filesystem::path text_encoder, tokenizer;  // folders

  // That of a folder that diffusers saved. Throws eav::Error.
  static Layout of_folder(const std::filesystem::path& model);
};

// A word in the names of checkpoints that are distilled.
inline constexpr const char* kDistilledName = "distilled";

}  // namespace eav::ltx_video
