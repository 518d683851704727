// Where the parts of a Wan lie, and their configurations as diffusers and transformers write them.
#pragma once
#include <filesystem>
#include <functional>
#include <optional>

#include "text/tokenizer.h"
#include "weights/config.h"
#include "weights/part.h"

namespace eav::wan {

// What sees pictures, in image-to-video checkpoints of 2.1.
struct ImageSource {
  PartSource encoder;
  JsonFile processor;
};

struct Layout {
  std::filesystem::path model;  // as it was named
  JsonFile index;               // the pipeline's
  JsonFile scheduler_config;
  PartSource text_encoder, transformer, vae;
  std::optional<PartSource> transformer_2;  // the second expert
  std::optional<ImageSource> image;
  std::function<Tokenizer()> open_tokenizer;

  // That of a folder that diffusers saved. Throws eav::Error.
  static Layout of_folder(const std::filesystem::path& model);
};

}  // namespace eav::wan
