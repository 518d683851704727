#include "models/hunyuan_video/family.h"

#include <fmt/format.h>

#include "models/hunyuan_video/image_prompt.h"
#include "models/hunyuan_video/job.h"
#include "models/hunyuan_video/original_names.h"
#include "models/hunyuan_video/text_prompt.h"
#include "text/clip_tokenizer.h"
#include "text/llama_tokenizer.h"

namespace eav::hunyuan_video {
namespace {

constexpr const char* kImageToVideo = "HunyuanVideoImageToVideoPipeline";

TransformerConfig read_transformer(const std::filesystem::path& folder) {
  const auto path = folder / "transformer" / "config.json";
  const auto config = TransformerConfig::read(JsonFile(path));
  const bool takes_image = config.image_condition != ImageCondition::none;
  const bool named = JsonFile(folder / "model_index.json").get<std::string>("_class_name") == kImageToVideo;
  if (named != takes_image)
    throw Error(fmt::format("{}: \"image_condition_type\" is {}, but model_index.json names a pipeline that {}",
                            path.string(), takes_image ? "set" : "not set",
                            named ? "sets out from an image" : "knows no image"));
  return config;
}

ClipImageProcessor read_processor(const std::filesystem::path& folder, const LlavaConfig& config) {
  if (const auto& vision = config.vision; vision.patches() != kImageTokens)
    throw Error(fmt::format("{}: the vision tower makes {} tokens of a picture of {} pixels, expected {}",
                            (folder / "text_encoder" / "config.json").string(), vision.patches(), vision.image_size,
                            kImageTokens));
  const JsonFile json(folder / "image_processor" / "preprocessor_config.json");
  ClipImageProcessor processor(json);
  const auto size = config.vision.image_size;
  if (processor.crop_height != size || processor.crop_width != size)
    throw Error(fmt::format("{}: \"crop_size\" is {}x{}, but the vision tower takes {}x{}", json.path().string(),
                            processor.crop_width, processor.crop_height, size, size));
  return processor;
}

}  // namespace

ImageModel::ImageModel(const std::filesystem::path& folder)
    : config(JsonFile(folder / "text_encoder" / "config.json")),
      processor(read_processor(folder, config)),
      llava(LlavaEncoder::part(folder / "text_encoder", kSkippedLlamaLayers)) {}

Model::Model(const std::filesystem::path& folder)
    : folder(folder),
      config(read_transformer(folder)),
      vae_config(VaeConfig::read(JsonFile(folder / "vae" / "config.json"))),
      image(config.image_condition == ImageCondition::none ? std::nullopt : std::optional<ImageModel>(folder)),
      llama_config(image ? image->config.text : LlamaConfig(JsonFile(folder / "text_encoder" / "config.json"))),
      clip_config(JsonFile(folder / "text_encoder_2" / "config.json")),
      scheduler_config(folder / "scheduler" / "scheduler_config.json"),
      llama_tokenizer([folder] { return open_llama_tokenizer(folder / "tokenizer"); }),
      clip_tokenizer([folder] { return open_clip_tokenizer(folder / "tokenizer_2"); }),
      clip(ClipTextEncoder::part(folder / "text_encoder_2")),
      transformer(folder / "transformer", PartFiles::kDiffusersStem,
                  {.blocks = {"transformer_blocks.", "single_transformer_blocks."},
                   .original = &original_table(),
                   .channels = config.channels()},
                  [config = config](const Weights& w) { return Transformer(w, config); }),
      vae_encoder(folder / "vae", PartFiles::kDiffusersStem, {VaeEncoder::unneeded_keys(), {}},
                  [config = vae_config](const Weights& w) { return VaeEncoder(w, config); }),
      vae(folder / "vae", PartFiles::kDiffusersStem, {Vae::unneeded_keys(), {}},
          [config = vae_config](const Weights& w) { return Vae(w, config); }) {
  check_agree(folder, "latent channels", config.out_channels, "VAE", vae_config.latent_channels);
  check_agree(folder, "channels of text embeddings", config.text_embed_dim, "LLaMA", llama_config.channels);
  check_agree(folder, "channels of pooled embeddings", config.pooled_projection_dim, "CLIP", clip_config.channels);
  if (llama_config.layers <= kSkippedLlamaLayers)
    throw Error(fmt::format("{}: the LLaMA has {} layers, of which the last {} are left out: too few", folder.string(),
                            llama_config.layers, kSkippedLlamaLayers));
  if (!image) llama.emplace(LlamaEncoder::part(folder / "text_encoder", kSkippedLlamaLayers));
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  options.resolve_flow_shift(FlowMatchEulerScheduler(model->scheduler_config, options.flow_shift).shift());
  if (model->image) return std::make_unique<ImageJob>(std::move(model), std::move(options));
  return std::make_unique<TextJob>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  const auto& c = config;
  const auto* condition = c.image_condition == ImageCondition::latent_concat ? "latent_concat" : "token_replace";
  return {image ? fmt::format("{}, image to video ({})", kFamily, condition) : kFamily,
          {text_encoder().describe(), clip.describe(), transformer.describe(), vae.describe(),
           PartInfo{"scheduler", scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
          c.layers(),
          fmt::format("the attention of {} dual-stream blocks (layers 0 to {}) and {} single-stream blocks (to {}), "
                      "video tokens only",
                      c.num_layers, c.num_layers - 1, c.num_single_layers, c.layers() - 1)};
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      if (image) return {&image->llava, &clip, &vae_encoder};
      return {&*llama, &clip};
    case Phase::transformer:
      return {&transformer};
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::hunyuan_video
