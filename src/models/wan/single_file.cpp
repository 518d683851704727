#include "models/wan/single_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "models/named.h"
#include "models/wan/original_names.h"

namespace eav::wan {
namespace {

using Json = nlohmann::json;

// Releases, by what their transformers take.
struct Release {
  int64_t in_channels;
  bool sees_pictures, embeds_positions;  // as tokens; of two
  const char* what;
  double flow_shift;
  bool from_image, first_frame;    // the pipeline; a picture takes the place of the first latent frame
  std::optional<double> boundary;  // of two experts
};
constexpr Release kReleases[]{
    {16, false, false, "Wan 2.1, text to video, or an expert of 2.2's", 3, false, false, 0.875},
    {36, true, false, "Wan 2.1, image to video", 3, true, false, {}},
    {36, true, true, "Wan 2.1, first and last picture to video", 16, true, false, {}},
    {36, false, false, "an expert of Wan 2.2, image to video", 3, true, false, 0.9},
    {48, false, false, "Wan 2.2, text or image to video", 5, false, true, {}},
};
constexpr double kShift720p = 5;  // of 2.1's image to video

const std::vector<double> kMean22{
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174,  0.1838,  0.1557,  -0.1382, 0.0542,  0.2813,  0.0891,
    0.157,   -0.0098, 0.0375,  -0.1825, -0.2246, -0.1207, -0.0698, 0.5109,  0.2665,  -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109,  0.1567,  -0.0729, 0.0899,  -0.2799, -0.123,  -0.0313, -0.1649, 0.0117,  0.0723,
    -0.2839, -0.2083, -0.052,  0.3748,  0.0152,  0.1957,  0.1433,  -0.2944, 0.3573,  -0.0548, -0.1681, -0.0667};
const std::vector<double> kStd22{0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.499,  0.4818, 0.5013, 0.8158, 1.0344,
                                 0.5894, 1.0901, 0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804,
                                 0.5833, 1.4146, 0.8986, 0.5659, 0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999,
                                 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944, 0.5726, 1.2042, 0.5458, 1.6887,
                                 0.3971, 1.06,   0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744};

Error error(const std::filesystem::path& path, const std::string& what) {
  return Error(fmt::format("{}: {}", path.string(), what));
}

const Release& release_of(const JsonFile& config) {
  const auto channels = config.count("in_channels");
  for (const auto& release : kReleases)
    if (release.in_channels == channels && release.sees_pictures == config.has("image_dim") &&
        release.embeds_positions == config.has("pos_embed_seq_len"))
      return release;
  throw error(config.path(),
              fmt::format("is a Wan whose transformer takes {} channels{}, which is not supported: 16, 36 "
                          "and 48 are, and pictures as tokens beside 36",
                          channels, config.has("image_dim") ? " and pictures as tokens" : ""));
}

// The prefix below which a file has one of the keys.
std::optional<std::string> prefix_of(const FileTable& file, std::span<const std::string_view> prefixes,
                                     std::initializer_list<const char*> known) {
  for (const auto prefix : prefixes)
    for (const auto* key : known)
      if (file.has(std::string(prefix) + key)) return std::string(prefix);
  return std::nullopt;
}

JsonFile scheduler(const std::filesystem::path& path, double flow_shift) {
  return {path,
          {{"_class_name", "UniPCMultistepScheduler"},
           {"num_train_timesteps", 1000},
           {"flow_shift", flow_shift},
           {"use_flow_sigmas", true},
           {"prediction_type", "flow_prediction"},
           {"predict_x0", true},
           {"solver_order", 2},
           {"solver_type", "bh2"},
           {"lower_order_final", true},
           {"disable_corrector", Json::array()},
           {"final_sigmas_type", "zero"},
           {"timestep_spacing", "linspace"},
           {"beta_start", 0.0001},
           {"beta_end", 0.02},
           {"beta_schedule", "linear"}}};
}

Need need_of_vae(const Release& release) {
  const bool of_5b = release.first_frame;
  return {"vae", of_5b ? "VAE of Wan 2.2's 5B" : "VAE of Wan 2.1",
          of_5b ? "wan2.2_vae.safetensors" : "wan_2.1_vae.safetensors", [of_5b](const FileTable& file) {
            auto part = vae_in(file);
            return part && part->source.config.get<bool>("is_residual") == of_5b ? part : std::nullopt;
          }};
}

Need need_of_tower() {
  return {"image_encoder", "CLIP ViT-H", "clip_vision_h.safetensors", [](const FileTable& file) {
            auto part = clip_vision_in(file);
            return part && part->source.config.get<std::string>("hidden_act") == "gelu" ? part : std::nullopt;
          }};
}

// Wan's own repositories hold the tokenizer in a folder of its name.
ModelPaths with_own_tokenizer(ModelPaths paths) {
  for (const auto& root : {paths.model, paths.model.parent_path()})
    if (const auto own = root / "google" / "umt5-xxl"; paths.tokenizer.empty() && std::filesystem::is_directory(own))
      paths.tokenizer = own;
  return paths;
}

// Throws where two experts are given the other way round, or as one.
void check_experts(const ModelPaths& paths, const Release& release) {
  const bool low_first = is_named(paths.model, "low_noise") || is_named(paths.model, "low-noise"),
             high_first = is_named(paths.model, "high_noise") || is_named(paths.model, "high-noise");
  if (paths.model_2.empty()) {
    if (release.from_image && release.boundary)
      throw Error("model_2", fmt::format("{}: is {}: name the one for high noise by `model` and the one for low noise "
                                         "by `model_2`",
                                         paths.model.string(), release.what));
    if (low_first || high_first)
      throw Error("model_2", fmt::format("{}: is one of two experts, by its name: name the one for high noise by "
                                         "`model` and the one for low noise by `model_2`",
                                         paths.model.string()));
    return;
  }
  if (!release.boundary)
    throw Error("model_2", fmt::format("{}: is {}, which has no second expert: leave `model_2` out",
                                       paths.model.string(), release.what));
  if (low_first || is_named(paths.model_2, "high_noise") || is_named(paths.model_2, "high-noise"))
    throw Error("model_2", fmt::format("{}: is for low noise, by the names: give the other expert as `model` and this "
                                       "one as `model_2`",
                                       paths.model.string()));
}

}  // namespace

std::optional<FilePart> transformer_in(const FileTable& file) {
  const auto prefix =
      prefix_of(file, kTransformerPrefixes, {"head.modulation", "condition_embedder.time_embedder.linear_1.weight"});
  if (!prefix) return std::nullopt;
  if (file.has(*prefix + "vace_patch_embedding.weight"))
    throw error(file.path(), "is a Wan VACE, which is not supported");
  CheckpointSource source{.path = file.path(), .rename = below(*prefix, transformer_names)};
  const FileTable t(source);
  const std::string embedder = "condition_embedder.";
  constexpr int64_t kHeadDim = 128;
  const auto kernel = t.kernel("patch_embedding");
  const auto channels = kernel[0];
  const std::vector<int64_t> patch{kernel[2], kernel[3], kernel[4]};
  Json config{{"_class_name", "WanTransformer3DModel"},
              {"patch_size", patch},
              {"num_attention_heads", channels / kHeadDim},
              {"attention_head_dim", kHeadDim},
              {"in_channels", kernel[1]},
              {"out_channels", t.length("proj_out.weight", 0) / std::max<int64_t>(patch[0] * patch[1] * patch[2], 1)},
              {"text_dim", t.length(embedder + "text_embedder.linear_1.weight", 1)},
              {"freq_dim", t.length(embedder + "time_embedder.linear_1.weight", 1)},
              {"ffn_dim", t.length("blocks.0.ffn.net.0.proj.weight", 0)},
              {"num_layers", t.count("blocks.")},
              {"cross_attn_norm", t.has("blocks.0.norm2.weight")},
              {"qk_norm", "rms_norm_across_heads"},
              {"eps", 1e-6},
              {"rope_max_seq_len", 1024}};
  if (t.has(embedder + "image_embedder.norm1.weight")) {
    config["image_dim"] = t.length(embedder + "image_embedder.norm1.weight", 0);
    config["added_kv_proj_dim"] = channels;
  }
  if (t.has(embedder + "image_embedder.pos_embed"))
    config["pos_embed_seq_len"] = t.length(embedder + "image_embedder.pos_embed", 1);
  const JsonFile json(file.path(), std::move(config));
  return FilePart{{"transformer", json, std::move(source)}, release_of(json).what};
}

std::optional<FilePart> vae_in(const FileTable& file) {
  const auto prefix = prefix_of(file, kVaePrefixes,
                                {"decoder.middle.0.residual.0.gamma", "decoder.mid_block.attentions.0.to_qkv.weight"});
  if (!prefix) return std::nullopt;
  const bool residual = file.has(*prefix + "encoder.downsamples.0.downsamples.0.residual.0.gamma") ||
                        file.has(*prefix + "encoder.down_blocks.0.resnets.0.norm1.gamma");
  CheckpointSource source{.path = file.path(),
                          .rename = below(*prefix, [=](const auto& key) { return vae_names(key, residual); })};
  const FileTable t(source);
  const auto z_dim = t.length("post_quant_conv.weight", 0), expected = int64_t{residual ? 48 : 16};
  if (z_dim != expected)
    throw error(file.path(),
                fmt::format("its VAE has latents of {} channels, expected {}, whose means are known", z_dim, expected));
  Json config{{"_class_name", "AutoencoderKLWan"},
              {"base_dim", t.length("encoder.conv_in.weight", 0)},
              {"decoder_base_dim", t.length("decoder.conv_out.weight", 1)},
              {"z_dim", z_dim},
              {"dim_mult", {1, 2, 4, 4}},
              {"num_res_blocks", 2},
              {"temperal_downsample", {false, true, true}},
              {"is_residual", residual},
              {"in_channels", t.length("encoder.conv_in.weight", 1)},
              {"out_channels", t.length("decoder.conv_out.weight", 0)}};
  if (residual) {
    config["patch_size"] = 2;
    config["scale_factor_spatial"] = 16;
    config["latents_mean"] = kMean22;
    config["latents_std"] = kStd22;
  }
  return FilePart{{"vae", JsonFile(file.path(), std::move(config)), std::move(source)},
                  residual ? "the VAE of Wan 2.2's 5B" : "the VAE of Wan 2.1, and of 2.2's 14B"};
}

Layout open_single_file(const ModelPaths& paths, const FileTable& file) {
  auto transformer = transformer_in(file).value().source;
  const auto& release = release_of(transformer.config);
  check_experts(paths, release);
  const bool two = !paths.model_2.empty();
  std::optional<PartSource> second;
  if (two) {
    const auto other = open_table(paths.model_2, "model_2", "the safetensors file of the second expert");
    auto part = transformer_in(other);
    if (!part) throw Error("model_2", fmt::format("{}: holds no transformer of Wan", paths.model_2.string()));
    second = std::move(part->source);
    second->name = "transformer_2";
  }

  auto vae_source = find_part(paths.vae, file, need_of_vae(release), PartSource::of_diffusers).source;
  vae_source.name = "vae";

  std::optional<ImageSource> image;
  if (release.sees_pictures) {
    auto tower = find_part(paths.image_encoder, file, need_of_tower(), [](const auto& dir) {
                   return PartSource::of_transformers(dir, "image_encoder");
                 }).source;
    const auto size = tower.config.count("image_size");
    auto processor = image_processor_of(tower, size);
    image = ImageSource{std::move(tower), std::move(processor)};
  } else if (!paths.image_encoder.empty()) {
    throw Error("image_encoder", fmt::format("{}: is {}, which sees no pictures as tokens: leave `image_encoder` out",
                                             paths.model.string(), release.what));
  }

  auto text = find_t5(with_own_tokenizer(paths), file, /*umt5=*/true);
  Json index{{"_class_name", release.from_image ? "WanImageToVideoPipeline" : "WanPipeline"},
             {"expand_timesteps", release.first_frame}};
  if (two) {
    index["boundary_ratio"] = *release.boundary;
    index["transformer_2"] = {"diffusers", "WanTransformer3DModel"};
  }
  const bool of_720p = release.sees_pictures && !release.embeds_positions && is_named(paths.model, "720p");
  return {.model = paths.model,
          .index = JsonFile(paths.model, std::move(index)),
          .scheduler_config = scheduler(paths.model, of_720p ? kShift720p : release.flow_shift),
          .text_encoder = std::move(text.encoder),
          .transformer = std::move(transformer),
          .vae = std::move(vae_source),
          .transformer_2 = std::move(second),
          .image = std::move(image),
          .open_tokenizer = std::move(text.open_tokenizer)};
}

std::vector<Need> needs_of(const FileTable& file) {
  const auto& release = release_of(transformer_in(file).value().source.config);
  std::vector<Need> needs{need_of_t5(/*umt5=*/true), need_of_vae(release)};
  if (release.sees_pictures) needs.push_back(need_of_tower());
  if (release.boundary)
    needs.push_back({.option = "model_2",
                     .what = "the expert for low noise",
                     .example = "wan2.2_..._low_noise_14B_fp16.safetensors",
                     .only_if = release.from_image ? "" : "where it is Wan 2.2's"});
  return needs;
}

}  // namespace eav::wan
