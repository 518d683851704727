#include "models/ltx_video/single_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "models/ltx_video/original_names.h"
#include "models/named.h"

namespace eav::ltx_video {
namespace {

using Json = nlohmann::json;

constexpr const char* kUpsamplerPart = "latent_upsampler";  // its name, and that of its folder in a pipeline's
constexpr const char* kUpsamplerClass = "LTXLatentUpsamplerModel";

Need need_of_vae() { return {"vae", "VAE of LTX-Video", "that of the release's whole file", vae_in}; }

// A part in a file: its tensors under their original names, and what the file's metadata tells.
class Original {
 public:
  Original(const FileTable& file, std::string prefix) : file_(file), prefix_(std::move(prefix)) {
    const auto& metadata = file.checkpoint().metadata();
    const auto text = metadata.find("config");
    if (text == metadata.end()) return;
    config_ = parse_json(text->second);
    if (!config_.is_object())
      throw Error(fmt::format("{}: the \"config\" in its metadata is no JSON object", path().string()));
  }

  const std::filesystem::path& path() const { return file_.path(); }
  CheckpointSource named(OriginalNames names) const {
    return {.path = path(), .rename = below(prefix_, std::move(names))};
  }
  bool has(const std::string& key) const { return file_.has(prefix_ + key); }
  int64_t length(const std::string& key, size_t axis) const { return file_.length(prefix_ + key, axis); }

  // The metadata of distilled releases lists the noise levels that they were distilled for.
  bool distilled() const {
    return config_.contains("allowed_inference_steps") && !config_["allowed_inference_steps"].is_null();
  }
  // What the metadata tells of a part: an object, empty where it tells nothing.
  JsonFile told(const std::string& part) const {
    return {path().string() + ", metadata of the " + part, config_.value(part, Json::object())};
  }

 private:
  const FileTable& file_;
  std::string prefix_;
  Json config_ = Json::object();
};

std::optional<Original> part_of(const FileTable& file, std::span<const std::string_view> prefixes,
                                const std::string& known) {
  for (const auto prefix : prefixes)
    if (file.has(std::string(prefix) + known)) return Original(file, std::string(prefix));
  return std::nullopt;
}

std::optional<Original> find_transformer(const FileTable& file) {
  return part_of(file, kTransformerPrefixes, "patchify_proj.weight");
}

std::optional<Original> find_vae(const FileTable& file) {
  return part_of(file, kVaePrefixes, "per_channel_statistics.mean-of-means");
}

Release release_of_vae(const Original& vae) {
  if (vae.length("encoder.conv_out.conv.weight", 1) == 2048) return Release::v095;
  return vae.has("decoder.last_time_embedder.timestep_embedder.linear_1.weight") ? Release::v091 : Release::v090;
}

// Takes the fields that diffusers' configuration and the original's spell alike.
void take(Json& config, const JsonFile& told, const std::vector<std::string>& fields) {
  for (const auto& field : fields)
    if (told.has(field)) config[field] = told.json()[field];
}

Json transformer_config(const Original& file) {
  const bool large = file.has("transformer_blocks.47.scale_shift_table");
  const auto channels = file.length("patchify_proj.weight", 0);
  constexpr int64_t kHeads = 32;
  Json config{{"_class_name", "LTXVideoTransformer3DModel"},
              {"num_layers", large ? 48 : 28},
              {"num_attention_heads", kHeads},
              {"in_channels", file.length("patchify_proj.weight", 1)},
              {"out_channels", file.length("proj_out.weight", 0)},
              {"cross_attention_dim", channels},
              {"caption_channels", file.length("caption_projection.linear_1.weight", 1)},
              {"norm_eps", 1e-6}};
  const auto told = file.told("transformer");
  take(config, told,
       {"num_layers", "num_attention_heads", "attention_head_dim", "norm_eps", "activation_fn", "qk_norm"});
  if (!told.has("attention_head_dim"))
    config["attention_head_dim"] = channels / told.count("num_attention_heads", kHeads);
  if (config.contains("qk_norm") && config["qk_norm"] == "rms_norm")
    config["qk_norm"] = "rms_norm_across_heads";  // its original name
  return config;
}

// The blocks of the original's list: from the video's resolution to the latents', in the decoder too.
struct OriginalBlocks {
  std::vector<int64_t> layers;          // of those that hold resnet blocks
  std::vector<bool> inject_noise;       // in these
  std::vector<bool> residual;           // of those that change the resolution
  std::vector<std::string> downsample;  // of the same
};

OriginalBlocks read_blocks(const JsonFile& told, const std::string& field) {
  const auto fail = [&] {
    return Error(fmt::format("{}: \"{}\" is no list of blocks such as [\"res_x\", {{\"num_layers\": 4}}]",
                             told.path().string(), field));
  };
  OriginalBlocks blocks;
  const auto& list = told.json()[field];
  if (!list.is_array()) throw fail();
  for (const auto& block : list) {
    if (!block.is_array() || block.size() != 2 || !block[0].is_string()) throw fail();
    const auto kind = block[0].get<std::string>();
    if (kind == "res_x_y") continue;  // changes channels only
    // A bare number is that of layers.
    const JsonFile settings(told.path(), block[1].is_number() ? Json{{"num_layers", block[1]}} : block[1]);
    if (kind == "res_x") {
      blocks.layers.push_back(settings.get<int64_t>("num_layers"));
      blocks.inject_noise.push_back(settings.get<bool>("inject_noise", false));
      continue;
    }
    static const std::map<std::string, std::string> kKinds{{"compress_all", "conv"},
                                                           {"compress_space_res", "spatial"},
                                                           {"compress_time_res", "temporal"},
                                                           {"compress_all_res", "spatiotemporal"}};
    const auto known = kKinds.find(kind);
    if (known == kKinds.end())
      throw Error(
          fmt::format("{}: \"{}\" has a block \"{}\", which is not supported", told.path().string(), field, kind));
    blocks.residual.push_back(settings.get<bool>("residual", false));
    blocks.downsample.push_back(known->second);
  }
  return blocks;
}

// What the metadata tells of the encoder's and the decoder's blocks. Number and kind of those that change the
// resolution are the release's.
void take_blocks(Json& config, const JsonFile& told) {
  const auto field = [&](const char* own) { return told.has(own) ? own : "blocks"; };
  if (const auto* encoder = field("encoder_blocks"); told.has(encoder)) {
    const auto blocks = read_blocks(told, encoder);
    config["layers_per_block"] = blocks.layers;
    if (config.contains("downsample_type")) config["downsample_type"] = blocks.downsample;
  }
  if (const auto* decoder = field("decoder_blocks"); told.has(decoder)) {
    const auto blocks = read_blocks(told, decoder);
    config["decoder_layers_per_block"] = blocks.layers;
    config["decoder_inject_noise"] = blocks.inject_noise;
    if (blocks.residual.size() == config["upsample_residual"].size()) config["upsample_residual"] = blocks.residual;
  }
}

// As published for the release, with the widths of the file's tensors.
Json published_vae(const Original& file, Release release) {
  const auto first = file.length("decoder.conv_in.conv.weight", 0),
             video = file.length("encoder.conv_in.conv.weight", 0);
  const auto decoder_width = [&](const char* block) {
    return file.length(fmt::format("decoder.up_blocks.{}.res_blocks.0.conv1.conv.weight", block), 0);
  };
  const auto encoder_width = [&](const char* block) {
    return file.length(fmt::format("encoder.down_blocks.{}.res_blocks.0.conv1.conv.weight", block), 0);
  };
  Json config{{"_class_name", "AutoencoderKLLTXVideo"},
              {"in_channels", 3},
              {"out_channels", 3},
              {"latent_channels", file.length("decoder.conv_in.conv.weight", 1)},
              {"patch_size", 4},
              {"patch_size_t", 1},
              {"resnet_norm_eps", 1e-6},
              {"scaling_factor", 1.0},
              {"encoder_causal", true},
              {"decoder_causal", false},
              {"timestep_conditioning", release != Release::v090}};
  if (release >= Release::v095) {
    config["block_out_channels"] = {video, encoder_width("2"), encoder_width("4"), encoder_width("6"),
                                    file.length("encoder.conv_out.conv.weight", 1)};
    config["down_block_types"] = std::vector<std::string>(4, "LTXVideo095DownBlock3D");
    config["downsample_type"] = {"spatial", "temporal", "spatiotemporal", "spatiotemporal"};
    config["layers_per_block"] = {4, 6, 6, 2, 2};
    config["spatio_temporal_scaling"] = std::vector<bool>(4, true);
    config["spatial_compression_ratio"] = 32;
  } else {
    config["block_out_channels"] = {video, encoder_width("3"), encoder_width("6"), encoder_width("8")};
    config["layers_per_block"] = {4, 3, 3, 3, 4};
    config["spatio_temporal_scaling"] = {true, true, true, false};
  }
  if (release == Release::v090) {
    config["decoder_block_out_channels"] = {decoder_width("9"), decoder_width("6"), decoder_width("3"), first};
    config["decoder_layers_per_block"] = {4, 3, 3, 3, 4};
    config["decoder_spatio_temporal_scaling"] = {true, true, true, false};
    config["decoder_inject_noise"] = std::vector<bool>(5, false);
    config["upsample_residual"] = std::vector<bool>(4, false);
    config["upsample_factor"] = std::vector<int64_t>(4, 1);
    return config;
  }
  const bool noise = release == Release::v091;
  // Each upsampling halves the channels; diffusers counts them before that.
  config["decoder_block_out_channels"] = {2 * decoder_width("6"), 2 * decoder_width("4"), 2 * decoder_width("2")};
  config["decoder_layers_per_block"] = noise ? std::vector<int64_t>{5, 6, 7, 8} : std::vector<int64_t>{5, 5, 5, 5};
  config["decoder_spatio_temporal_scaling"] = std::vector<bool>(3, true);
  config["decoder_inject_noise"] = {noise, noise, noise, false};
  config["upsample_residual"] = std::vector<bool>(3, true);
  config["upsample_factor"] = std::vector<int64_t>(3, 2);
  return config;
}

Json vae_config(const Original& file, Release release) {
  auto config = published_vae(file, release);
  const auto told = file.told("vae");
  take(config, told, {"patch_size", "scaling_factor", "timestep_conditioning"});
  if (told.has("causal_decoder")) config["decoder_causal"] = told.get<bool>("causal_decoder");
  take_blocks(config, told);
  if (config.contains("spatial_compression_ratio"))
    config["spatial_compression_ratio"] = JsonFile(told.path(), config).count("patch_size") * 8;
  return config;
}

Json scheduler_config(const Original& file, Release release) {
  const auto told = file.told("scheduler");
  const std::string ours = "FlowMatchEulerDiscreteScheduler";
  const auto name = told.get<std::string>("_class_name", "RectifiedFlowScheduler");
  if (name == ours) return told.json();
  if (name != "RectifiedFlowScheduler")
    throw Error(
        fmt::format("{}: the scheduler is {}, supported is RectifiedFlowScheduler", told.path().string(), name));

  Json config{{"_class_name", ours},
              {"num_train_timesteps", told.count("num_train_timesteps", 1000)},
              {"shift", 1.0},
              {"base_shift", 0.95},
              {"max_shift", 2.05},
              {"base_image_seq_len", 1024},
              {"max_image_seq_len", 4096}};
  // A scheduler that is told of without a "shifting" has none.
  const bool is_told = told.has("_class_name");
  const auto shifting = told.get<std::string>("shifting", is_told || release >= Release::v095 ? "" : "SD3");
  if (!shifting.empty() && shifting != "SD3")
    throw Error(fmt::format("{}: \"shifting\" is \"{}\", supported is \"SD3\"", told.path().string(), shifting));
  config["use_dynamic_shifting"] = shifting == "SD3";
  if (shifting == "SD3") {
    if (!is_told) config["shift_terminal"] = 0.1;
    if (const auto terminal = told.optional<double>("target_shift_terminal")) config["shift_terminal"] = *terminal;
  }
  return config;
}

PartSource transformer_source(const Original& file) {
  return {"transformer", JsonFile(file.path(), transformer_config(file)), file.named(transformer_names)};
}

PartSource vae_source(const Original& file) {
  const auto release = release_of_vae(file);
  return {"vae", JsonFile(file.path(), vae_config(file, release)),
          file.named([release](const std::string& key) { return vae_names(key, release); })};
}

}  // namespace

std::optional<FilePart> transformer_in(const FileTable& file) {
  const auto original = find_transformer(file);
  if (!original) return std::nullopt;
  auto source = transformer_source(*original);
  const bool large = source.config.count("num_layers") == kLargeLayers;
  return FilePart{std::move(source), large ? "LTX-Video 13B" : "LTX-Video 2B"};
}

std::optional<FilePart> vae_in(const FileTable& file) {
  const auto original = find_vae(file);
  if (!original) return std::nullopt;
  return FilePart{vae_source(*original), "the VAE of LTX-Video"};
}

std::optional<FilePart> latent_upsampler_in(const FileTable& file) {
  const std::string first = "initial_conv.weight", upsampler = "upsampler.0.weight";
  if (!file.has(first) || !file.has(upsampler) || !file.has("post_upsample_res_blocks.0.conv1.weight"))
    return std::nullopt;
  // All that the metadata tells follows from shapes.
  const auto& shape = file.checkpoint().index().at(first).second.shape;
  const auto mid = file.length(first, 0), positions = file.length(upsampler, 0) / std::max<int64_t>(mid, 1);
  const bool space = positions == 4 || positions == 8, time = positions == 2 || positions == 8;
  Json config{{"_class_name", kUpsamplerClass},
              {"in_channels", file.length(first, 1)},
              {"mid_channels", mid},
              {"num_blocks_per_stage", file.count("res_blocks.")},
              {"dims", std::ssize(shape) - 2},
              {"spatial_upsample", space},
              {"temporal_upsample", time}};
  return FilePart{{kUpsamplerPart, JsonFile(file.path(), std::move(config)), {.path = file.path()}},
                  fmt::format("the latent upscaler of LTX-Video, of {}", space && time ? "frames, height and width"
                                                                         : time        ? "frames"
                                                                                       : "height and width")};
}

std::optional<PartSource> find_latent_upsampler(const std::filesystem::path& given) {
  if (given.empty()) return std::nullopt;
  const std::string option = "latent_upscaler";
  if (std::filesystem::is_directory(given)) {
    const auto inner = given / kUpsamplerPart;
    auto source = PartSource::of_diffusers(std::filesystem::is_directory(inner) ? inner : given);
    if (const auto name = source.config.get<std::string>("_class_name", "none"); name != kUpsamplerClass)
      throw Error(option, fmt::format("{}: the class of the model in it is {}, expected {}, as in {}", given.string(),
                                      name, kUpsamplerClass, "Lightricks/ltxv-spatial-upscaler-0.9.7"));
    source.name = kUpsamplerPart;
    return source;
  }
  const auto file = open_table(given, option, kLatentUpsamplerExample);
  if (auto part = latent_upsampler_in(file)) return part->source;
  throw Error(option, fmt::format("{}: holds no latent upscaler of LTX-Video; such a file is {}", given.string(),
                                  kLatentUpsamplerExample));
}

Layout open_single_file(const ModelPaths& paths, const FileTable& file) {
  const auto& path = paths.model;
  const auto transformer = find_transformer(file).value();
  auto vae = find_part(paths.vae, file, need_of_vae(), PartSource::of_diffusers).source;
  vae.name = "vae";
  const auto release = release_of(vae.config);
  auto text = find_t5(paths, file, /*umt5=*/false);
  return {.model = path,
          .conditional = release >= Release::v095,  // which of diffusers' pipelines serves it
          .distilled = transformer.distilled() || is_named(path, kDistilledName),
          .scheduler_config = JsonFile(path, scheduler_config(transformer, release)),
          .text_encoder = std::move(text.encoder),
          .transformer = transformer_source(transformer),
          .vae = std::move(vae),
          .open_tokenizer = std::move(text.open_tokenizer),
          .latent_upsampler = find_latent_upsampler(paths.latent_upscaler)};
}

std::vector<Need> needs_of(const FileTable&) {
  return {need_of_t5(/*umt5=*/false),
          need_of_vae(),
          {.option = "tokenizer",
           .what = "T5's tokenizer",
           .example = "the folder \"tokenizer\" of Lightricks/LTX-Video",
           .only_if = "where the text encoder is a file",
           .in_comfyui = "comfy/text_encoders/t5_tokenizer"}};
}

}  // namespace eav::ltx_video
