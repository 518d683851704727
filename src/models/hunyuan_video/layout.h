// Where the parts of a HunyuanVideo lie, and their configurations as diffusers and transformers write them.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>

#include "text/tokenizer.h"
#include "weights/config.h"
#include "weights/part.h"

namespace eav::hunyuan_video {

struct Layout {
  std::filesystem::path model;  // as it was named
  JsonFile index;               // the pipeline's
  JsonFile scheduler_config;
  PartSource text_encoder, text_encoder_2, transformer, vae;  // LLaMA or LLaVA; CLIP
  std::optional<JsonFile> image_processor;                    // of image to video
  std::filesystem::path tokenizer;                            // LLaMA's, for messages
  std::function<Tokenizer()> open_tokenizer, open_tokenizer_2;

  // That of a folder that diffusers saved. Throws eav::Error.
  static Layout of_folder(const std::filesystem::path& model);
};

}  // namespace eav::hunyuan_video
