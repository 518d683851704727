#include "models/ltx_video/family.h"

#include <fmt/format.h>

#include "models/ltx_video/job.h"
#include "models/ltx_video/original_names.h"
#include "models/ltx_video/single_file.h"
#include "models/named.h"
#include "text/t5_tokenizer.h"

namespace eav::ltx_video {

namespace {

// The autoencoder's encoder or decoder, or what is between them. The original's keys would have other meanings here.
template <class Half, class Config>
Part<Half> vae_part(const PartSource& source) {
  return {source,
          {.unneeded = Half::unneeded_keys(), .original = &vae_table(release_of(source.config))},
          [json = source.config](const Weights& w) { return Half(w, Config::read(json)); }};
}

}  // namespace

Layout Layout::of_folder(const ModelPaths& paths) {
  const auto& model = paths.model;
  return {.model = model,
          .conditional = JsonFile(model / "model_index.json").get<std::string>("_class_name") == "LTXConditionPipeline",
          .distilled = is_named(model, kDistilledName),
          .scheduler_config = JsonFile(model / "scheduler" / "scheduler_config.json"),
          .text_encoder = PartSource::of_transformers(model / "text_encoder", "text_encoder"),
          .transformer = PartSource::of_diffusers(model / "transformer"),
          .vae = PartSource::of_diffusers(model / "vae"),
          .open_tokenizer = [folder = model / "tokenizer"] { return open_t5_tokenizer(folder); },
          .latent_upsampler = find_latent_upsampler(paths.latent_upscaler)};
}

Model::Model(Layout found)
    : layout(std::move(found)),
      config(TransformerConfig::read(layout.transformer.config)),
      vae_config(VaeConfig::read(layout.vae.config)),
      text_config(layout.text_encoder.config),
      tokenizer(layout.open_tokenizer),
      text_encoder(T5Encoder::part(layout.text_encoder)),
      transformer(layout.transformer.named(transformer_names),
                  {.blocks = {"transformer_blocks."}, .original = &transformer_table()},
                  [config = config](const Weights& w) { return Transformer(w, config); }),
      vae_encoder(vae_part<VaeEncoder, VaeEncoderConfig>(layout.vae)),
      vae(vae_part<Vae, VaeConfig>(layout.vae)),
      statistics(vae_part<LatentStatistics, VaeConfig>(layout.vae)) {
  check_agree(layout.model, "latent channels", config.in_channels, "VAE", vae_config.latent_channels);
  check_agree(layout.model, "channels of text embeddings", config.caption_channels, "text encoder",
              text_config.channels);
  if (!layout.latent_upsampler) return;
  if (!layout.conditional)
    throw Error("latent_upscaler",
                fmt::format("{}: is of an LTX-Video from before 0.9.5, which runs in one pass: leave "
                            "`latent_upscaler` out",
                            layout.model.string()));
  const auto upsampler = UpsamplerConfig::read(layout.latent_upsampler->config);
  if (!upsampler.spatial_upsample || upsampler.temporal_upsample)
    throw Error("latent_upscaler",
                fmt::format("{}: makes more frames; two passes need one that makes height and width alone larger, such "
                            "as {}",
                            layout.latent_upsampler->tensors.path.string(), kLatentUpsamplerExample));
  check_agree(layout.model, "latent channels", config.in_channels, "latent upscaler", upsampler.in_channels);
  latent_upsampler.emplace(*layout.latent_upsampler, PartKeys{},
                           [upsampler](const Weights& w) { return LatentUpsampler(w, upsampler); });
}

std::optional<PassSteps> Model::passes() const {
  if (!latent_upsampler) return std::nullopt;
  return layout.distilled ? kDistilledPasses : kPasses;
}

Options Model::options(Asked asked) const {
  // Of the releases, one is run with tone mapping.
  const bool maps_tones = layout.distilled && config.num_layers == kLargeLayers && is_named(layout.model, "0.9.8");
  return Options(std::move(asked), {.conditions = layout.conditional,
                                    .decode_timestep = vae_config.timestep_conditioning,
                                    .distilled = layout.distilled,
                                    .upsampler = latent_upsampler.has_value(),
                                    .passes = passes(),
                                    .tone_mapping = maps_tones ? 0.6 : 0});
}

std::string Model::note() const {
  if (const auto steps = passes())
    return fmt::format(
        "two passes: {} steps at two thirds of the size and {} after the latent upscaler{} say otherwise", steps->first,
        steps->second,
        layout.distilled ? ", without guidance, unless `steps`, `second_pass_timesteps` and `guidance`"
                         : ", unless `steps` and `second_pass_timesteps`");
  if (!layout.distilled) return "";
  return fmt::format("a distilled checkpoint: {} steps without guidance, unless `steps` and `guidance` say otherwise",
                     kDistilledSteps);
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  if (model->latent_upsampler) return std::make_unique<TwoPassJob>(std::move(model), std::move(options));
  if (model->layout.conditional) return std::make_unique<ConditionJob>(std::move(model), std::move(options));
  return std::make_unique<TextJob>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  Inspection inspection{kFamily,
                        {text_encoder.describe(), transformer.describe(), vae.describe(),
                         PartInfo{"scheduler", layout.scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
                        config.num_layers,
                        fmt::format("the self-attention of all {} transformer blocks", config.num_layers)};
  if (latent_upsampler) inspection.parts.push_back(latent_upsampler->describe());
  return inspection;
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      return {&text_encoder, &vae_encoder};
    case Phase::transformer:
      if (latent_upsampler) return {&transformer, &statistics, &*latent_upsampler};
      return {&transformer};
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::ltx_video
