// Open-Sora v1.2's checkpoints (hpcaitech/Open-Sora).
#pragma once
#include <filesystem>

#include "models/family.h"
#include "models/media.h"
#include "models/open_sora/config.h"
#include "models/open_sora/options.h"
#include "models/open_sora/transformer.h"
#include "models/open_sora/vae.h"
#include "text/t5.h"
#include "text/t5_folders.h"
#include "text/tokenizer.h"

namespace eav::open_sora {

// Where its parts lie.
struct Layout {
  std::filesystem::path model, transformer, vae;  // folders
  T5Folders text;

  // Whether a folder is such a checkpoint, or its transformer's.
  static bool is_in(const std::filesystem::path& model);
  // `model` holds OpenSora-STDiT-v3/, OpenSora-VAE-v1.2/ and a T5 encoder's folder, or is the transformer's, where the
  // other two are named. Throws eav::Error.
  static Layout find(const ModelPaths& paths);
};

// A checkpoint, opened: its configurations and parts.
struct Model {
  static constexpr const char* kFamily = "Open-Sora";
  explicit Model(const ModelPaths& paths) : Model(Layout::find(paths)) {}
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
  mutable PictureReader pictures;  // for all jobs

  Options options(Asked asked) const { return Options(std::move(asked)); }
  Inspection inspect() const;
  std::vector<PartFiles*> parts(Phase phase);
  static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);
};

}  // namespace eav::open_sora
