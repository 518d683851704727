#include "models/ltx_video/family.h"

#include <fmt/format.h>

#include "models/ltx_video/job.h"
#include "models/ltx_video/original_names.h"
#include "models/named.h"
#include "text/t5_tokenizer.h"

namespace eav::ltx_video {

namespace {

// The autoencoder's encoder or decoder. The original's keys would have other meanings here.
template <class Half, class Config>
Part<Half> vae_part(const PartSource& source) {
  return {source,
          {.unneeded = Half::unneeded_keys(), .original = &vae_table(release_of(source.config))},
          [json = source.config](const Weights& w) { return Half(w, Config::read(json)); }};
}

}  // namespace

Layout Layout::of_folder(const std::filesystem::path& model) {
  return {.model = model,
          .conditional = JsonFile(model / "model_index.json").get<std::string>("_class_name") == "LTXConditionPipeline",
          .distilled = is_named(model, kDistilledName),
          .scheduler_config = JsonFile(model / "scheduler" / "scheduler_config.json"),
          .text_encoder = PartSource::of_transformers(model / "text_encoder", "text_encoder"),
          .transformer = PartSource::of_diffusers(model / "transformer"),
          .vae = PartSource::of_diffusers(model / "vae"),
          .tokenizer = model / "tokenizer"};
}

Model::Model(Layout found)
    : layout(std::move(found)),
      config(TransformerConfig::read(layout.transformer.config)),
      vae_config(VaeConfig::read(layout.vae.config)),
      text_config(layout.text_encoder.config),
      tokenizer([folder = layout.tokenizer] { return open_t5_tokenizer(folder); }),
      text_encoder(T5Encoder::part(layout.text_encoder)),
      transformer(layout.transformer.named(transformer_names),
                  {.blocks = {"transformer_blocks."}, .original = &transformer_table()},
                  [config = config](const Weights& w) { return Transformer(w, config); }),
      vae_encoder(vae_part<VaeEncoder, VaeEncoderConfig>(layout.vae)),
      vae(vae_part<Vae, VaeConfig>(layout.vae)) {
  check_agree(layout.model, "latent channels", config.in_channels, "VAE", vae_config.latent_channels);
  check_agree(layout.model, "channels of text embeddings", config.caption_channels, "text encoder",
              text_config.channels);
}

Options Model::options(Asked asked) const {
  return Options(std::move(asked), {.conditions = layout.conditional,
                                    .decode_timestep = vae_config.timestep_conditioning,
                                    .distilled = layout.distilled});
}

std::string Model::note() const {
  if (!layout.distilled) return "";
  return fmt::format("a distilled checkpoint: {} steps without guidance, unless `steps` and `guidance` say otherwise",
                     kDistilledSteps);
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  if (model->layout.conditional) return std::make_unique<ConditionJob>(std::move(model), std::move(options));
  return std::make_unique<TextJob>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  return {kFamily,
          {text_encoder.describe(), transformer.describe(), vae.describe(),
           PartInfo{"scheduler", layout.scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
          config.num_layers,
          fmt::format("the self-attention of all {} transformer blocks", config.num_layers)};
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      return {&text_encoder, &vae_encoder};
    case Phase::transformer:
      return {&transformer};
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::ltx_video
