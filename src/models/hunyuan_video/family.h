// HunyuanVideo's checkpoints (diffusers' HunyuanVideoPipeline and HunyuanVideoImageToVideoPipeline).
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "models/clip_image.h"
#include "models/family.h"
#include "models/hunyuan_video/config.h"
#include "models/hunyuan_video/layout.h"
#include "models/hunyuan_video/options.h"
#include "models/hunyuan_video/transformer.h"
#include "models/hunyuan_video/vae.h"
#include "models/hunyuan_video/vae_encoder.h"
#include "models/media.h"
#include "text/clip.h"
#include "text/llama.h"
#include "text/llava.h"
#include "text/tokenizer.h"

namespace eav::hunyuan_video {

// What an image-to-video checkpoint has in place of a LLaMA alone.
struct ImageModel {
  explicit ImageModel(const Layout& layout);

  LlavaConfig config;
  ClipImageProcessor processor;
  Part<LlavaEncoder> llava;
  mutable PictureReader pictures;  // for all jobs
};

// A checkpoint, opened: its configurations and parts.
struct Model {
  static constexpr const char* kFamily = "HunyuanVideo";
  explicit Model(const std::filesystem::path& folder) : Model(Layout::of_folder(folder)) {}
  explicit Model(Layout layout);

  Layout layout;
  TransformerConfig config;
  VaeConfig vae_config;
  std::optional<ImageModel> image;  // of image to video
  LlamaConfig llama_config;
  ClipConfig clip_config;

  Lazy<Tokenizer> llama_tokenizer, clip_tokenizer;
  std::optional<Part<LlamaEncoder>> llama;  // of text to video
  Part<ClipTextEncoder> clip;
  Part<Transformer> transformer;
  Part<VaeEncoder> vae_encoder;
  Part<Vae> vae;

  Options options(Asked asked) const { return Options(std::move(asked), image.has_value()); }
  // LLaMA's part: alone, or within LLaVA.
  const PartFiles& text_encoder() const {
    return image ? static_cast<const PartFiles&>(image->llava) : static_cast<const PartFiles&>(*llama);
  }
  Inspection inspect() const;
  std::vector<PartFiles*> parts(Phase phase);
  static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);
};

}  // namespace eav::hunyuan_video
