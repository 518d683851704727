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

TransformerConfig read_transformer(const Layout& layout) {
  const auto config = TransformerConfig::read(layout.transformer.config);
  const bool takes_image = config.image_condition != ImageCondition::none;
  const bool named = layout.index.get<std::string>("_class_name") == kImageToVideo;
  if (named != takes_image)
    throw Error(fmt::format("{}: \"image_condition_type\" is {}, but model_index.json names a pipeline that {}",
                            layout.transformer.config.path().string(), takes_image ? "set" : "not set",
                            named ? "sets out from an image" : "knows no image"));
  return config;
}

ClipImageProcessor read_processor(const Layout& layout, const LlavaConfig& config) {
  if (const auto& vision = config.vision; vision.patches() != kImageTokens)
    throw Error(fmt::format("{}: the vision tower makes {} tokens of a picture of {} pixels, expected {}",
                            layout.text_encoder.config.path().string(), vision.patches(), vision.image_size,
                            kImageTokens));
  const auto& json = *layout.image_processor;
  ClipImageProcessor processor(json);
  const auto size = config.vision.image_size;
  if (processor.crop_height != size || processor.crop_width != size)
    throw Error(fmt::format("{}: \"crop_size\" is {}x{}, but the vision tower takes {}x{}", json.path().string(),
                            processor.crop_width, processor.crop_height, size, size));
  return processor;
}

// The autoencoder's encoder or decoder.
template <class Half>
Part<Half> vae_part(const PartSource& source, const VaeConfig& config) {
  return {source.named(vae_names),
          {.unneeded = Half::unneeded_keys(), .original = &vae_table()},
          [config](const Weights& w) { return Half(w, config); }};
}

}  // namespace

Layout Layout::of_folder(const std::filesystem::path& model) {
  JsonFile index(model / "model_index.json");
  std::optional<JsonFile> processor;
  if (index.get<std::string>("_class_name") == kImageToVideo)
    processor.emplace(model / "image_processor" / "preprocessor_config.json");
  return {.model = model,
          .index = std::move(index),
          .scheduler_config = JsonFile(model / "scheduler" / "scheduler_config.json"),
          .text_encoder = PartSource::of_transformers(model / "text_encoder", "text_encoder"),
          .text_encoder_2 = PartSource::of_transformers(model / "text_encoder_2", "text_encoder_2"),
          .transformer = PartSource::of_diffusers(model / "transformer"),
          .vae = PartSource::of_diffusers(model / "vae"),
          .image_processor = std::move(processor),
          .tokenizer = model / "tokenizer",
          .open_tokenizer = [folder = model / "tokenizer"] { return open_llama_tokenizer(folder); },
          .open_tokenizer_2 = [folder = model / "tokenizer_2"] { return open_clip_tokenizer(folder); }};
}

ImageModel::ImageModel(const Layout& layout)
    : config(layout.text_encoder.config),
      processor(read_processor(layout, config)),
      llava(LlavaEncoder::part(layout.text_encoder, kSkippedLlamaLayers)) {}

Model::Model(Layout found)
    : layout(std::move(found)),
      config(read_transformer(layout)),
      vae_config(VaeConfig::read(layout.vae.config)),
      image(config.image_condition == ImageCondition::none ? std::nullopt : std::optional<ImageModel>(layout)),
      llama_config(image ? image->config.text : LlamaConfig(layout.text_encoder.config)),
      clip_config(layout.text_encoder_2.config),
      llama_tokenizer(layout.open_tokenizer),
      clip_tokenizer(layout.open_tokenizer_2),
      clip(ClipTextEncoder::part(layout.text_encoder_2)),
      transformer(layout.transformer.named([channels = config.channels()](const std::string& key) {
        return transformer_names(key, channels);
      }),
                  {.blocks = {"transformer_blocks.", "single_transformer_blocks."},
                   .original = &transformer_table(),
                   .channels = config.channels()},
                  [config = config](const Weights& w) { return Transformer(w, config); }),
      vae_encoder(vae_part<VaeEncoder>(layout.vae, vae_config)),
      vae(vae_part<Vae>(layout.vae, vae_config)) {
  const auto& model = layout.model;
  check_agree(model, "latent channels", config.out_channels, "VAE", vae_config.latent_channels);
  check_agree(model, "channels of text embeddings", config.text_embed_dim, "LLaMA", llama_config.channels);
  check_agree(model, "channels of pooled embeddings", config.pooled_projection_dim, "CLIP", clip_config.channels);
  if (llama_config.layers <= kSkippedLlamaLayers)
    throw Error(fmt::format("{}: the LLaMA has {} layers, of which the last {} are left out: too few", model.string(),
                            llama_config.layers, kSkippedLlamaLayers));
  if (!image) llama.emplace(LlamaEncoder::part(layout.text_encoder, kSkippedLlamaLayers));
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  options.resolve_flow_shift(FlowMatchEulerScheduler(model->layout.scheduler_config, options.flow_shift).shift());
  if (model->image) return std::make_unique<ImageJob>(std::move(model), std::move(options));
  return std::make_unique<TextJob>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  const auto& c = config;
  const auto* condition = c.image_condition == ImageCondition::latent_concat ? "latent_concat" : "token_replace";
  return {image ? fmt::format("{}, image to video ({})", kFamily, condition) : kFamily,
          {text_encoder().describe(), clip.describe(), transformer.describe(), vae.describe(),
           PartInfo{"scheduler", layout.scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
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
