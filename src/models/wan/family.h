// Wan's checkpoints, 2.1 and 2.2 (diffusers' WanPipeline, WanImageToVideoPipeline and WanVideoToVideoPipeline).
#pragma once
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "models/clip_image.h"
#include "models/family.h"
#include "models/media.h"
#include "models/wan/config.h"
#include "models/wan/layout.h"
#include "models/wan/options.h"
#include "models/wan/transformer.h"
#include "models/wan/vae.h"
#include "models/wan/vae_encoder.h"
#include "text/clip_vision.h"
#include "text/t5.h"
#include "text/tokenizer.h"

namespace eav::wan {

// Schedulers that a checkpoint may name.
inline constexpr const char *kUniPc = "UniPCMultistepScheduler", *kEuler = "FlowMatchEulerDiscreteScheduler";

// How a checkpoint sees pictures: not at all; as channels beside the latents, with a mask of the frames that they show;
// or in place of the first latent frame, whose tokens are at timestep 0.
enum class ImageCondition { none, concatenated, first_frame };

// What an image-to-video checkpoint of 2.1 has beside the others: pictures become tokens too.
struct ImageModel {
  explicit ImageModel(const ImageSource& source);

  ClipVisionConfig config;
  ClipImageProcessor processor;
  Part<ClipVisionTower> encoder;
};

// A checkpoint, opened: its configurations and parts.
struct Model {
  static constexpr const char* kFamily = "Wan";
  explicit Model(const std::filesystem::path& folder) : Model(Layout::of_folder(folder)) {}
  explicit Model(Layout layout);

  Layout layout;
  TransformerConfig config;
  VaeConfig vae_config;
  T5Config text_config;
  ImageCondition image_condition;
  // Where there are two experts: steps from this timestep on are the first's, as a part of those trained with.
  std::optional<double> boundary_ratio;

  std::optional<ImageModel> image;
  Lazy<Tokenizer> tokenizer;
  Part<T5Encoder> text_encoder;
  Part<Transformer> transformer;
  std::optional<Part<Transformer>> transformer_2;  // the second expert
  Part<VaeEncoder> vae_encoder;
  Part<Vae> vae;
  mutable PictureReader pictures;  // for all jobs

  // Whether a video may end with a picture beside the one that it begins with, and whether it always does.
  bool takes_last_image() const {
    return image_condition == ImageCondition::concatenated && (!config.image_dim || needs_last_image());
  }
  bool needs_last_image() const { return config.pos_embed_seq_len.has_value(); }
  Options options(Asked asked) const;
  Inspection inspect() const;
  std::vector<PartFiles*> parts(Phase phase);
  static std::unique_ptr<VideoJob> open(std::shared_ptr<Model> model, Asked asked);

 private:
  Abilities abilities() const;
};

}  // namespace eav::wan
