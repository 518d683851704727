#include "models/cogvideox/family.h"

#include <fmt/format.h>

#include "models/cogvideox/job.h"
#include "schedulers/cogvideox.h"
#include "text/t5_tokenizer.h"

namespace eav::cogvideox {

Model::Model(const std::filesystem::path& folder)
    : folder(folder),
      config(TransformerConfig::read(JsonFile(folder / "transformer" / "config.json"))),
      vae_config(VaeConfig::read(JsonFile(folder / "vae" / "config.json"))),
      text_config(JsonFile(folder / "text_encoder" / "config.json")),
      scheduler_config(folder / "scheduler" / "scheduler_config.json"),
      tokenizer([folder] { return open_t5_tokenizer(folder / "tokenizer"); }),
      text_encoder(T5Encoder::part(PartSource::of_transformers(folder / "text_encoder", "text_encoder"))),
      transformer(PartSource::of_diffusers(folder / "transformer"),
                  {Transformer::unneeded_keys(), {"transformer_blocks."}},
                  [config = config](const Weights& w) { return Transformer(w, config); }),
      vae(PartSource::of_diffusers(folder / "vae"), {Vae::unneeded_keys(), {}},
          [config = vae_config](const Weights& w) { return Vae(w, config); }) {
  check_agree(folder, "latent channels", config.in_channels, "VAE", vae_config.latent_channels);
  check_agree(folder, "channels of text embeddings", config.text_embed_dim, "text encoder", text_config.channels);
}

// The size in pixels that a video has where nobody asks for another. CogVideoX 1.5, which is known by its patches in
// time, names the end of its rotary table as its sample size: far more than it was made to run at.
Model::Size Model::standard_size() const {
  const auto pixels = vae_config.spatial_compression();
  const Size sample{config.sample_width * pixels, config.sample_height * pixels}, recommended{1360, 768};
  const bool reaches = recommended.width <= sample.width && recommended.height <= sample.height;
  return config.patch_size_t && reaches ? recommended : sample;
}

Options Model::options(Asked asked) const {
  const auto size = standard_size();
  const bool dpm = CogVideoXScheduler::kind_of(scheduler_config) == CogVideoXScheduler::Kind::dpm;
  return Options(std::move(asked), {.width = size.width,
                                    .height = size.height,
                                    .frames = config.sample_frames,
                                    .fps = config.patch_size_t ? 16.0 : 8.0,
                                    .scheduler = std::string(dpm ? "dpm" : "ddim")});
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  return std::make_unique<Job>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  return {kFamily,
          {text_encoder.describe(), transformer.describe(), vae.describe(),
           PartInfo{"scheduler", scheduler_config.get<std::string>("_class_name"), 0, {}, 0}},
          config.num_layers,
          fmt::format("the self-attention of all {} transformer blocks, video tokens only", config.num_layers)};
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      return {&text_encoder};
    case Phase::transformer:
      return {&transformer};
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::cogvideox
