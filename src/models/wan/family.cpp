#include "models/wan/family.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "models/named.h"
#include "models/wan/job.h"
#include "models/wan/original_names.h"
#include "schedulers/flow_match_euler.h"
#include "text/umt5_tokenizer.h"

namespace eav::wan {
namespace {

constexpr int64_t kMaskChannels = 4;  // the video frames of a latent one that pictures show

Part<Transformer> transformer_part(const PartSource& source, const TransformerConfig& config) {
  return {source.named(transformer_names),
          {.unneeded = Transformer::unneeded_keys(config), .blocks = {"blocks."}, .original = &transformer_table()},
          [config](const Weights& w) { return Transformer(w, config); }};
}

// The autoencoder's encoder or decoder.
template <class Half>
Part<Half> vae_part(const PartSource& source, const VaeConfig& config) {
  return {source.named([residual = config.is_residual](const auto& key) { return vae_names(key, residual); }),
          {.unneeded = Half::unneeded_keys(), .float32 = true, .original = &vae_table(config.is_residual)},
          [config](const Weights& w) { return Half(w, config); }};
}

// Whether a pipeline's index has a part: [null, null] and null say that it has none.
bool has_part(const JsonFile& index, const std::string& part) {
  return index.has(part) && !(index.json().at(part).is_array() && index.json().at(part).front().is_null());
}

std::optional<double> read_boundary(const JsonFile& index) {
  const auto ratio = index.optional<double>("boundary_ratio");
  if (has_part(index, "transformer_2") != ratio.has_value())
    throw Error(fmt::format("{}: \"boundary_ratio\" is {}, but there {} second transformer", index.path().string(),
                            ratio ? "set" : "not set", ratio ? "is no" : "is a"));
  if (ratio && !(*ratio >= 0 && *ratio <= 1))
    throw Error(
        fmt::format("{}: \"boundary_ratio\" is {}, expected a number from 0 to 1", index.path().string(), *ratio));
  return ratio;
}

ImageCondition read_image_condition(const JsonFile& index, const TransformerConfig& config, const VaeConfig& vae) {
  const auto fail = [&](const std::string& what) { return Error(index.path().string() + ": " + what); };
  if (index.get<bool>("expand_timesteps", false)) {
    if (config.patch_size != PatchSize{1, 2, 2} || config.in_channels != vae.z_dim)
      throw fail("\"expand_timesteps\" needs a transformer with patches of 1x2x2 of the latents alone");
    return ImageCondition::first_frame;
  }
  const bool named = index.get<std::string>("_class_name") == "WanImageToVideoPipeline";
  const bool concatenates = config.in_channels == 2 * vae.z_dim + kMaskChannels;
  if (!concatenates && config.in_channels != vae.z_dim)
    throw fail(fmt::format("the transformer takes {} channels, expected the VAE's {}, or {} with a picture beside them",
                           config.in_channels, vae.z_dim, 2 * vae.z_dim + kMaskChannels));
  if (named != concatenates)
    throw fail(fmt::format("names a pipeline that {}, but the transformer takes {} channels",
                           named ? "sets out from an image" : "knows no image", config.in_channels));
  return concatenates ? ImageCondition::concatenated : ImageCondition::none;
}

}  // namespace

Layout Layout::of_folder(const std::filesystem::path& model) {
  JsonFile index(model / "model_index.json");
  auto transformer = PartSource::of_diffusers(model / "transformer");
  std::optional<PartSource> second;
  if (has_part(index, "transformer_2")) second = PartSource::of_diffusers(model / "transformer_2");
  std::optional<ImageSource> image;
  if (transformer.config.has("image_dim"))
    image = {PartSource::of_transformers(model / "image_encoder", "image_encoder"),
             JsonFile(model / "image_processor" / "preprocessor_config.json")};
  return {.model = model,
          .index = std::move(index),
          .scheduler_config = JsonFile(model / "scheduler" / "scheduler_config.json"),
          .text_encoder = PartSource::of_transformers(model / "text_encoder", "text_encoder"),
          .transformer = std::move(transformer),
          .vae = PartSource::of_diffusers(model / "vae"),
          .transformer_2 = std::move(second),
          .image = std::move(image),
          .open_tokenizer = [folder = model / "tokenizer"] { return open_umt5_tokenizer(folder); }};
}

ImageModel::ImageModel(const ImageSource& source)
    : config(source.encoder.config), processor(source.processor), encoder(ClipVisionTower::part(source.encoder)) {
  const auto size = config.image_size;
  if (processor.crop_height != size || processor.crop_width != size)
    throw Error(fmt::format("{}: \"crop_size\" is {}x{}, but the image encoder takes {}x{}",
                            source.processor.path().string(), processor.crop_width, processor.crop_height, size, size));
}

Model::Model(Layout found)
    : layout(std::move(found)),
      config(TransformerConfig::read(layout.transformer.config)),
      vae_config(VaeConfig::read(layout.vae.config)),
      text_config(layout.text_encoder.config),
      image_condition(read_image_condition(layout.index, config, vae_config)),
      boundary_ratio(read_boundary(layout.index)),
      image(layout.image ? std::optional<ImageModel>(*layout.image) : std::nullopt),
      tokenizer(layout.open_tokenizer),
      text_encoder(T5Encoder::part(layout.text_encoder)),
      transformer(transformer_part(layout.transformer, config)),
      vae_encoder(vae_part<VaeEncoder>(layout.vae, vae_config)),
      vae(vae_part<Vae>(layout.vae, vae_config)) {
  check_agree(layout.model, "latent channels", config.out_channels, "VAE", vae_config.z_dim);
  check_agree(layout.model, "channels of text embeddings", config.text_dim, "text encoder", text_config.channels);
  if (image) {
    check_agree(layout.model, "channels of pictures' tokens", *config.image_dim, "image encoder",
                image->config.channels);
    if (const auto tokens = 2 * (1 + image->config.patches()); config.pos_embed_seq_len.value_or(tokens) != tokens)
      throw Error(fmt::format("{}: \"pos_embed_seq_len\" is {}, but two pictures have {} tokens",
                              layout.transformer.config.path().string(), *config.pos_embed_seq_len, tokens));
  }
  if (!layout.transformer_2) return;
  const auto second = TransformerConfig::read(layout.transformer_2->config);
  if (second.in_channels != config.in_channels || second.out_channels != config.out_channels ||
      second.num_layers != config.num_layers || second.patch_size != config.patch_size ||
      second.text_dim != config.text_dim || second.image_dim != config.image_dim)
    throw Error(fmt::format("{}: the second transformer differs from the first in channels, layers or patches",
                            layout.transformer_2->config.path().string()));
  transformer_2.emplace(transformer_part(*layout.transformer_2, second));
}

// What the folder holds tells which release it is; of 2.1's for images, its name the size.
Abilities Model::abilities() const {
  const bool from_image = image_condition == ImageCondition::concatenated;
  Abilities of{.conditions = {}, .two_experts = boundary_ratio.has_value()};
  if (image_condition == ImageCondition::none && !of.two_experts) of.conditions = {"video"};
  if (image_condition == ImageCondition::first_frame || from_image) of.conditions = {"image"};
  if (takes_last_image()) of.conditions.emplace_back("last_image");

  const bool first_frame = image_condition == ImageCondition::first_frame;
  const bool large = of.two_experts || needs_last_image() || (from_image && is_named(layout.model, "720p"));
  of.width = first_frame || large ? 1280 : 832;
  of.height = first_frame ? 704 : large ? 720 : 480;
  of.frames = first_frame ? 121 : 81;
  of.fps = first_frame ? 24.0 : 16.0;
  of.steps = of.two_experts ? 40 : 50;
  of.guidance = !of.two_experts ? (needs_last_image() ? 5.5 : 5.0) : from_image ? 3.5 : 4.0;
  of.guidance_2 = from_image ? 3.5 : 3.0;
  if (of.two_experts || first_frame) of.easy_cache_first_steps = 7;  // Wan 2.2
  if (of.two_experts && !from_image) of.easy_cache_threshold = 0.06;
  const auto name = layout.scheduler_config.get<std::string>("_class_name");
  of.scheduler = std::string(name == kEuler ? "euler" : "unipc");
  return of;
}

Options Model::options(Asked asked) const {
  auto of = abilities();
  const auto given = [&](const char* name) { return asked.values.contains(name) || asked.standards.contains(name); };
  const auto found = asked.values.find("conditions");
  const auto* conditions = found == asked.values.end() ? nullptr : std::get_if<std::vector<Condition>>(&found->second);
  if (conditions != nullptr && !conditions->empty()) {
    const auto& first = conditions->front();
    if (first.is_video && of.takes("video") && !given("frames")) {
      // As long as the clip, up to the usual length.
      const auto ratio = vae_config.temporal_compression();
      const auto clip = pictures.read({first}, *of.frames.value)[0].frames;
      of.frames = (clip.size(0) - 1) / ratio * ratio + 1;
    }
    if (!first.is_video && of.takes("image") && !given("width") && !given("height")) {
      // The picture's aspect, at the release's area.
      const auto picture = pictures.read({first}, 1)[0].frames;
      const auto area = static_cast<double>(*of.width.value * *of.height.value);
      const auto aspect = static_cast<double>(picture.size(1)) / static_cast<double>(picture.size(2));
      const auto side = [&](double length, int64_t patch) {
        const auto multiple = vae_config.spatial_compression() * patch;
        return std::max<int64_t>(static_cast<int64_t>(std::nearbyint(length)) / multiple, 1) * multiple;
      };
      of.height = side(std::sqrt(area * aspect), config.patch_size[1]);
      of.width = side(std::sqrt(area / aspect), config.patch_size[2]);
    }
  }
  return Options(std::move(asked), of);
}

std::unique_ptr<VideoJob> Model::open(std::shared_ptr<Model> model, Asked asked) {
  auto options = model->options(std::move(asked));
  if (!options.flow_shift) {
    const auto& scheduler = model->layout.scheduler_config;
    const bool euler = scheduler.get<std::string>("_class_name") == kEuler;
    options.resolve_flow_shift(scheduler.get<double>(euler ? "shift" : "flow_shift", 1));
  }
  const auto job = [&]<class Job>(std::type_identity<Job>) -> std::unique_ptr<VideoJob> {
    return std::make_unique<Job>(std::move(model), std::move(options));
  };
  if (model->image_condition == ImageCondition::concatenated) return job(std::type_identity<ImageJob>());
  if (options.conditions.empty()) return job(std::type_identity<TextJob>());
  if (model->image_condition == ImageCondition::first_frame) return job(std::type_identity<FirstFrameJob>());
  return job(std::type_identity<ChangeJob>());
}

Inspection Model::inspect() const {
  Inspection inspection{kFamily, {text_encoder.describe(), transformer.describe()}, config.num_layers, {}};
  if (image) inspection.parts.insert(inspection.parts.begin() + 1, image->encoder.describe());
  if (transformer_2) inspection.parts.push_back(transformer_2->describe());
  inspection.parts.push_back(vae.describe());
  inspection.parts.push_back({"scheduler", layout.scheduler_config.get<std::string>("_class_name"), 0, {}, 0});
  inspection.enhanced_layers = fmt::format("the self-attention of all {} transformer blocks{}", config.num_layers,
                                           transformer_2 ? " of each expert" : "");
  return inspection;
}

std::vector<PartFiles*> Model::parts(Phase phase) {
  switch (phase) {
    case Phase::text_encoder:
      if (image_condition == ImageCondition::none && transformer_2) return {&text_encoder};
      if (image) return {&text_encoder, &image->encoder, &vae_encoder};
      return {&text_encoder, &vae_encoder};
    case Phase::transformer:
      if (transformer_2) return {&transformer, &*transformer_2};
      return {&transformer};
    case Phase::vae:
      return {&vae};
  }
  return {};
}

}  // namespace eav::wan
