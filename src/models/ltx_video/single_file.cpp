#include "models/ltx_video/single_file.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "models/named.h"
#include "text/t5_folders.h"

namespace eav::ltx_video {
namespace {

using Json = nlohmann::json;
using Names = std::vector<std::string_view>;
using Renames = std::vector<std::pair<std::string_view, std::string_view>>;

constexpr std::string_view kTransformerPrefix = "model.diffusion_model.", kVaePrefix = "vae.";

// The blocks of the VAE in diffusers' names, by their numbers in the original's one list.
struct VaeNames {
  Names down_blocks, up_blocks;
};

VaeNames vae_names(Release release) {
  const Names down090{"down_blocks.0", "down_blocks.0.downsamplers.0", "down_blocks.0.conv_out",
                      "down_blocks.1", "down_blocks.1.downsamplers.0", "down_blocks.1.conv_out",
                      "down_blocks.2", "down_blocks.2.downsamplers.0", "down_blocks.3",
                      "mid_block"};
  const Names up090{"mid_block",   "up_blocks.0",         "up_blocks.1.upsamplers.0",
                    "up_blocks.1", "up_blocks.2.conv_in", "up_blocks.2.upsamplers.0",
                    "up_blocks.2", "up_blocks.3.conv_in", "up_blocks.3.upsamplers.0",
                    "up_blocks.3"};
  const Names up091{"mid_block",   "up_blocks.0.upsamplers.0", "up_blocks.0", "up_blocks.1.upsamplers.0",
                    "up_blocks.1", "up_blocks.2.upsamplers.0", "up_blocks.2", "up_blocks.3.upsamplers.0",
                    "up_blocks.3"};
  const Names down095{"down_blocks.0", "down_blocks.0.downsamplers.0", "down_blocks.1", "down_blocks.1.downsamplers.0",
                      "down_blocks.2", "down_blocks.2.downsamplers.0", "down_blocks.3", "down_blocks.3.downsamplers.0",
                      "mid_block"};
  return {release >= Release::v095 ? down095 : down090, release >= Release::v091 ? up091 : up090};
}

std::string replaced(std::string text, const Renames& renames) {
  for (const auto& [from, to] : renames)
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  return text;
}

// "encoder.down_blocks.3.x" -> "encoder.down_blocks.1.x"; keys of other layers, and of blocks without a name, stay.
std::string with_block_named(const std::string& key, std::string_view list, const Names& names) {
  if (!key.starts_with(list)) return key;
  size_t number = 0;
  const auto* begin = key.data() + list.size();
  const auto [end, error] = std::from_chars(begin, key.data() + key.size(), number);
  if (error != std::errc() || number >= names.size()) return key;
  return std::string(list.substr(0, list.find('.') + 1)).append(names[number]).append(end, key.data() + key.size());
}

CheckpointSource::Rename transformer_rename(bool prefixed) {
  return [prefixed](const std::string& original) -> std::optional<std::string> {
    if (original.starts_with(kVaePrefix)) return std::nullopt;
    const bool has_prefix = original.starts_with(kTransformerPrefix);
    return replaced(
        prefixed && has_prefix ? original.substr(kTransformerPrefix.size()) : original,
        {{"patchify_proj", "proj_in"}, {"adaln_single", "time_embed"}, {"q_norm", "norm_q"}, {"k_norm", "norm_k"}});
  };
}

CheckpointSource::Rename vae_rename(Release release) {
  return [names = vae_names(release)](const std::string& original) -> std::optional<std::string> {
    if (!original.starts_with(kVaePrefix)) return std::nullopt;
    auto key = original.substr(kVaePrefix.size());
    if (key == "per_channel_statistics.mean-of-means") return "latents_mean";
    if (key == "per_channel_statistics.std-of-means") return "latents_std";
    if (key.starts_with("per_channel_statistics.")) return std::nullopt;  // statistics that nothing is computed from
    key = with_block_named(key, "encoder.down_blocks.", names.down_blocks);
    key = with_block_named(key, "decoder.up_blocks.", names.up_blocks);
    return replaced(std::move(key), {{"res_blocks", "resnets"},
                                     {"norm3.norm", "norm3"},
                                     {"conv_shortcut", "conv_shortcut.conv"},
                                     {"last_time_embedder", "time_embedder"},
                                     {"last_scale_shift_table", "scale_shift_table"}});
  };
}

// The file's tensors and what its metadata tells.
class Original {
 public:
  explicit Original(const std::filesystem::path& path) : file_(path) {
    if (const auto text = file_.metadata().find("config"); text != file_.metadata().end()) {
      config_ = parse_json(text->second);
      if (!config_.is_object())
        throw Error(fmt::format("{}: the \"config\" in its metadata is no JSON object", path.string()));
    }
    prefix_ = has(std::string(kTransformerPrefix) + "patchify_proj.weight") ? kTransformerPrefix : "";
    const bool has_transformer = has(prefix_ + "patchify_proj.weight"), has_vae = has_any(kVaePrefix);
    if (!has_transformer && !has_vae)
      throw error(
          "is no original file of an LTX-Video release: it has neither the transformer's \"patchify_proj.weight\" "
          "nor tensors of a VAE; folders that diffusers saves are opened as folders");
    for (const auto& [key, entry] : file_.entries())
      if (entry.dtype == at::kFloat8_e4m3fn || entry.dtype == at::kFloat8_e5m2)
        throw error(fmt::format(
            "\"{}\" is stored in float8, which is not supported: take the release's file in bfloat16", key));
    const char* advice = "take the release's whole file";
    if (!has_vae) throw error(fmt::format("has no VAE: {}", advice));
    if (!has_transformer) throw error(fmt::format("has no transformer: {}", advice));
  }

  bool prefixed() const { return !prefix_.empty(); }
  bool has(const std::string& key) const { return file_.entries().contains(key); }
  // The length of an axis of a tensor of the transformer or the VAE.
  int64_t of_transformer(const std::string& key, size_t axis) const { return length(prefix_ + key, axis); }
  int64_t of_vae(const std::string& key, size_t axis) const { return length(std::string(kVaePrefix) + key, axis); }

  Release release() const {
    if (has(prefix_ + "transformer_blocks.47.scale_shift_table")) return Release::v097;
    if (of_vae("encoder.conv_out.conv.weight", 1) == 2048) return Release::v095;
    return has("vae.decoder.last_time_embedder.timestep_embedder.linear_1.weight") ? Release::v091 : Release::v090;
  }

  // The metadata of distilled releases lists the noise levels that they were distilled for.
  bool distilled() const {
    return config_.contains("allowed_inference_steps") && !config_["allowed_inference_steps"].is_null();
  }

  // What the metadata tells of a part: an object, empty where it tells nothing.
  JsonFile told(const std::string& part) const {
    return {file_.path().string() + ", metadata of the " + part, config_.value(part, Json::object())};
  }

 private:
  Error error(const std::string& what) const { return Error(fmt::format("{}: {}", file_.path().string(), what)); }
  bool has_any(std::string_view prefix) const {
    const auto first = file_.entries().lower_bound(std::string(prefix));
    return first != file_.entries().end() && first->first.starts_with(prefix);
  }
  int64_t length(const std::string& key, size_t axis) const {
    const auto found = file_.entries().find(key);
    if (found == file_.entries().end()) throw error(fmt::format("the tensor \"{}\" is missing", key));
    if (axis >= found->second.shape.size())
      throw error(fmt::format("the tensor \"{}\" has {} dimensions, expected more", key, found->second.shape.size()));
    return found->second.shape[axis];
  }

  SafetensorsFile file_;
  Json config_ = Json::object();
  std::string prefix_;
};

// Takes the fields that diffusers' configuration and the original's spell alike.
void take(Json& config, const JsonFile& told, const std::vector<std::string>& fields) {
  for (const auto& field : fields)
    if (told.has(field)) config[field] = told.json()[field];
}

Json transformer_config(const Original& file, Release release) {
  const bool large = release == Release::v097;
  const auto channels = file.of_transformer("patchify_proj.weight", 0);
  constexpr int64_t kHeads = 32;
  Json config{{"_class_name", "LTXVideoTransformer3DModel"},
              {"num_layers", large ? 48 : 28},
              {"num_attention_heads", kHeads},
              {"in_channels", file.of_transformer("patchify_proj.weight", 1)},
              {"out_channels", file.of_transformer("proj_out.weight", 0)},
              {"cross_attention_dim", channels},
              {"caption_channels", file.of_transformer("caption_projection.linear_1.weight", 1)},
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
  const auto first = file.of_vae("decoder.conv_in.conv.weight", 0),
             video = file.of_vae("encoder.conv_in.conv.weight", 0);
  const auto decoder_width = [&](const char* block) {
    return file.of_vae(fmt::format("decoder.up_blocks.{}.res_blocks.0.conv1.conv.weight", block), 0);
  };
  const auto encoder_width = [&](const char* block) {
    return file.of_vae(fmt::format("encoder.down_blocks.{}.res_blocks.0.conv1.conv.weight", block), 0);
  };
  Json config{{"_class_name", "AutoencoderKLLTXVideo"},
              {"in_channels", 3},
              {"out_channels", 3},
              {"latent_channels", file.of_vae("decoder.conv_in.conv.weight", 1)},
              {"patch_size", 4},
              {"patch_size_t", 1},
              {"resnet_norm_eps", 1e-6},
              {"scaling_factor", 1.0},
              {"encoder_causal", true},
              {"decoder_causal", false},
              {"timestep_conditioning", release != Release::v090}};
  if (release >= Release::v095) {
    config["block_out_channels"] = {video, encoder_width("2"), encoder_width("4"), encoder_width("6"),
                                    file.of_vae("encoder.conv_out.conv.weight", 1)};
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

// Which of diffusers' pipelines serves a release.
bool is_conditional(Release release) { return release >= Release::v095; }

}  // namespace

Layout open_single_file(const ModelPaths& paths) {
  const auto& path = paths.model;
  const Original file(path);
  if (!paths.vae.empty()) throw Error(fmt::format("{}: has its own VAE: leave `vae` out", path.string()));
  if (paths.text_encoder.empty())
    throw Error(
        fmt::format("{}: a single file has no text encoder: name a folder with T5 and its tokenizer by "
                    "`text_encoder` DIR",
                    path.string()));
  const auto text = T5Folders::find(paths.text_encoder);
  const auto release = file.release();
  return {.model = path,
          .conditional = is_conditional(release),
          .distilled = file.distilled() || is_named(path, kDistilledName),
          .transformer_config = JsonFile(path, transformer_config(file, release)),
          .vae_config = JsonFile(path, vae_config(file, release)),
          .scheduler_config = JsonFile(path, scheduler_config(file, release)),
          .transformer = {.path = path, .stem = {}, .rename = transformer_rename(file.prefixed())},
          .vae = {.path = path, .stem = {}, .rename = vae_rename(release)},
          .text_encoder = text.encoder,
          .tokenizer = text.tokenizer};
}

}  // namespace eav::ltx_video
