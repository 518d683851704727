#include "models/open_sora/family.h"

#include <fmt/format.h>

#include <set>

#include "models/open_sora/job.h"
#include "text/t5_tokenizer.h"

namespace eav::open_sora {
namespace {

constexpr const char* kTransformerFolder = "OpenSora-STDiT-v3";

// Whether the folder's configuration is that of such a model.
bool holds(const std::filesystem::path& folder, const char* model_type) {
  const auto config = folder / "config.json";
  return std::filesystem::exists(config) && JsonFile(config).get<std::string>("model_type", "") == model_type;
}

// Whether all parts lie in the folder, under the names that they were released with.
bool is_whole(const std::filesystem::path& model) {
  return std::filesystem::exists(model / kTransformerFolder / "config.json");
}

// The folder of a T5 encoder among others.
T5Folders find_text_encoder(const std::filesystem::path& model) {
  std::set<std::filesystem::path> folders;
  for (const auto& entry : std::filesystem::directory_iterator(model)) folders.insert(entry.path());
  for (const auto& folder : folders)
    if (holds(folder, "t5")) return T5Folders::find(folder);
  throw Error(fmt::format(
      "{}: has no folder of a T5 encoder, with a config.json: put one there, or name it with `text_encoder`",
      model.string()));
}

// A part in a folder of its own, whose files with weights begin with "model".
template <class M>
Part<M> part_in(const std::string& name, const std::filesystem::path& folder, PartKeys keys,
                typename Part<M>::Build build) {
  return {PartSource::of_transformers(folder, name), std::move(keys), std::move(build)};
}

}  // namespace

bool Layout::is_in(const std::filesystem::path& model) { return is_whole(model) || holds(model, "STDiT3"); }

Layout Layout::find(const ModelPaths& paths) {
  const auto& model = paths.model;
  const bool whole = is_whole(model);
  if (!whole && (paths.vae.empty() || paths.text_encoder.empty()))
    throw Error(fmt::format(
        "{}: is the transformer of Open-Sora alone: name the folders of the other parts with `vae` and `text_encoder`",
        model.string()));
  return {.model = model,
          .transformer = whole ? model / kTransformerFolder : model,
          .vae = paths.vae.empty() ? model / "OpenSora-VAE-v1.2" : paths.vae,
          .text = paths.text_encoder.empty() ? find_text_encoder(model) : T5Folders::find(paths.text_encoder)};
}

Model::Model(Layout found)
    : layout(std::move(found)),
      config(TransformerConfig::read(JsonFile(layout.transformer / "config.json"))),
      vae_config(VaeConfig::read(JsonFile(layout.vae / "config.json"))),
      text_config(JsonFile(layout.text.encoder / "config.json")),
      tokenizer([folder = layout.text.tokenizer] { return open_t5_tokenizer(folder); }),
      text_encoder(T5Encoder::part(PartSource::of_transformers(layout.text.encoder, "text_encoder"))),
      transformer(part_in<Transformer>("transformer", layout.transformer, {{}, {"spatial_blocks.", "temporal_blocks."}},
                                       [config = config](const Weights& w) { return Transformer(w, config); })),
      vae_encoder(part_in<VaeEncoder>("vae", layout.vae, {VaeEncoder::unneeded_keys(), {}},
                                      [config = vae_config](const Weights& w) { return VaeEncoder(w, config); })),
      vae(part_in<Vae>("vae", layout.vae, {Vae::unneeded_keys(), {}},
                       [config = vae_config](const Weights& w) { return Vae(w, config); })) {
  check_agree(layout.model, "latent channels", config.in_channels, "VAE", vae_config.temporal.embed_dim);
  check_agree(layout.model, "channels of text embeddings", config.caption_channels, "text encoder",
              text_config.channels);
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  return std::make_unique<Job>(std::move(model), std::move(options));
}

Inspection Model::inspect() const {
  return {kFamily,
          {text_encoder.describe(), transformer.describe(), vae.describe()},
          config.depth,
          fmt::format("the self-attention over time of all {} temporal blocks", config.depth)};
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      return {&text_encoder, &vae_encoder};
    case Phase::transformer:
      return {&transformer, &vae_encoder};  // which reads the end of a clip that another one goes on from
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::open_sora
