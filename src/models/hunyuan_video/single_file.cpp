#include "models/hunyuan_video/single_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "models/hunyuan_video/original_names.h"
#include "models/named.h"
#include "text/clip_tokenizer.h"
#include "text/llama_tokenizer.h"

namespace eav::hunyuan_video {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLatents = 16;
constexpr int64_t kConcatenated = 2 * kLatents + 1;  // with an image and its mask
constexpr const char* kImageToken = "<image>";

// How a transformer's tensors are spelled: the key that tells it, and the one whose rows are the model's channels.
struct Spelling {
  const char *known, *patches;
};
constexpr Spelling kSpellings[]{
    {"double_blocks.0.img_attn_qkv.weight", "img_in.proj.bias"},
    {"double_blocks.0.img_attn.qkv.weight", "img_in.proj.bias"},
    {"context_embedder.token_refiner.refiner_blocks.0.attn.to_q.weight", "x_embedder.proj.bias"},
};

Need need_of_llama() { return {"text_encoder", "LLaVA-LLaMA-3", "llava_llama3_fp16.safetensors", llama_in}; }
// CLIP-L is not the only one in use: its width tells it.
Need need_of_clip(const PartSource& transformer) {
  return {"text_encoder_2", "CLIP-L", "clip_l.safetensors",
          [channels = transformer.config.count("pooled_projection_dim")](const FileTable& file) {
            auto part = clip_text_in(file);
            return part && part->source.config.count("hidden_size") == channels ? part : std::nullopt;
          }};
}
Need need_of_vae() { return {"vae", "VAE of HunyuanVideo", "hunyuan_video_vae_bf16.safetensors", vae_in}; }
Need need_of_tower(std::string only_if = "") {
  return {"image_encoder", "vision tower of LLaVA-LLaMA-3", "llava_llama3_vision.safetensors",
          [](const FileTable& file) {
            auto part = clip_vision_in(file);
            return part && part->source.config.get<std::string>("hidden_act") == "quick_gelu" ? part : std::nullopt;
          },
          std::move(only_if)};
}

// Whether a video sets out from an image, where the channels do not tell.
bool is_of_image(const ModelPaths& paths) {
  return !paths.image_encoder.empty() || is_named(paths.model, "image_to_video") || is_named(paths.model, "i2v");
}

struct Tokenizers {
  std::filesystem::path llama, clip;
};

// A folder with tokenizer/ and tokenizer_2/, or comfy/ of ComfyUI's program.
Tokenizers find_tokenizers(const ModelPaths& paths) {
  const auto& dir = paths.tokenizer;
  if (dir.empty())
    throw Error("tokenizer",
                fmt::format("{}: a LLaMA's file holds no tokenizer: name a folder with those of LLaMA and "
                            "CLIP, \"tokenizer\" and \"tokenizer_2\" of hunyuanvideo-community/HunyuanVideo, "
                            "by `tokenizer`",
                            paths.model.string()));
  for (const auto& found : {Tokenizers{dir / "tokenizer", dir / "tokenizer_2"},
                            Tokenizers{dir / "text_encoders" / "llama_tokenizer", dir / "sd1_tokenizer"}})
    if (std::filesystem::is_directory(found.llama) && std::filesystem::is_directory(found.clip)) return found;
  throw Error("tokenizer", fmt::format("{}: holds no folders \"tokenizer\" and \"tokenizer_2\"", dir.string()));
}

}  // namespace

std::optional<FilePart> transformer_in(const FileTable& file) {
  for (const auto prefix : kTransformerPrefixes) {
    const auto spelling =
        std::ranges::find_if(kSpellings, [&](const Spelling& s) { return file.has(std::string(prefix) + s.known); });
    if (spelling == std::end(kSpellings)) continue;
    if (!file.has(std::string(prefix) + spelling->patches)) return std::nullopt;  // Flux has blocks of the same names
    const auto channels = file.length(std::string(prefix) + spelling->patches, 0);
    CheckpointSource source{.path = file.path(),
                            .rename = below(std::string(prefix), [channels](const std::string& key) {
                              return transformer_names(key, channels);
                            })};
    const FileTable t(source);
    constexpr int64_t kHeadDim = 128;
    const auto kernel = t.kernel("x_embedder.proj");
    const auto in_channels = kernel[1], patch_t = kernel[2], patch = kernel[3];
    Json config{{"_class_name", "HunyuanVideoTransformer3DModel"},
                {"in_channels", in_channels},
                {"out_channels", t.length("proj_out.weight", 0) / std::max<int64_t>(patch * patch * patch_t, 1)},
                {"num_attention_heads", channels / kHeadDim},
                {"attention_head_dim", kHeadDim},
                {"num_layers", t.count("transformer_blocks.")},
                {"num_single_layers", t.count("single_transformer_blocks.")},
                {"num_refiner_layers", t.count("context_embedder.token_refiner.refiner_blocks.")},
                {"mlp_ratio", static_cast<double>(t.length("transformer_blocks.0.ff.net.0.proj.weight", 0)) /
                                  static_cast<double>(std::max<int64_t>(channels, 1))},
                {"patch_size", patch},
                {"patch_size_t", patch_t},
                {"qk_norm", "rms_norm"},
                {"guidance_embeds", t.has("time_text_embed.guidance_embedder.linear_1.weight")},
                {"text_embed_dim", t.length("context_embedder.proj_in.weight", 1)},
                {"pooled_projection_dim", t.length("time_text_embed.text_embedder.linear_1.weight", 1)},
                {"rope_theta", 256.0},
                {"rope_axes_dim", {16, 56, 56}}};
    const bool concatenates = in_channels == kConcatenated;
    if (concatenates) config["image_condition_type"] = "latent_concat";
    return FilePart{{"transformer", JsonFile(file.path(), std::move(config)), std::move(source)},
                    concatenates ? "HunyuanVideo, image to video (latent_concat)"
                                 : "HunyuanVideo, text to video, or image to video (token_replace)"};
  }
  return std::nullopt;
}

std::optional<FilePart> vae_in(const FileTable& file) {
  for (const auto prefix : kVaePrefixes) {
    const auto has = [&](const char* key) { return file.has(std::string(prefix) + key); };
    if (!has("decoder.conv_in.conv.weight") ||
        !(has("decoder.mid.attn_1.q.weight") || has("decoder.mid_block.attentions.0.to_q.weight")))
      continue;
    CheckpointSource source{.path = file.path(), .rename = below(std::string(prefix), vae_names)};
    const FileTable t(source);
    std::vector<int64_t> widths;
    for (int64_t level = 0; level < t.count("encoder.down_blocks."); ++level)
      widths.push_back(t.length(fmt::format("encoder.down_blocks.{}.resnets.0.conv1.conv.weight", level), 0));
    const auto levels = widths.size();
    return FilePart{
        {"vae",
         JsonFile(file.path(), {{"_class_name", "AutoencoderKLHunyuanVideo"},
                                {"block_out_channels", widths},
                                {"latent_channels", t.length("post_quant_conv.weight", 0)},
                                {"layers_per_block", t.count("encoder.down_blocks.0.resnets.")},
                                {"up_block_types", std::vector<std::string>(levels, "HunyuanVideoUpBlock3D")},
                                {"norm_num_groups", 32},
                                {"scaling_factor", 0.476986}}),
         std::move(source)},
        "the VAE of HunyuanVideo"};
  }
  return std::nullopt;
}

Layout open_single_file(const ModelPaths& paths, const FileTable& file) {
  auto transformer = transformer_in(file).value().source;
  const bool of_image = transformer.config.has("image_condition_type") || is_of_image(paths);
  if (of_image && !transformer.config.has("image_condition_type")) {
    auto config = transformer.config.json();
    config["image_condition_type"] = "token_replace";
    transformer.config = JsonFile(paths.model, std::move(config));
  }
  const auto of_folder = [](const char* name) {
    return [name](const std::filesystem::path& dir) { return PartSource::of_transformers(dir, name); };
  };
  auto vae = find_part(paths.vae, file, need_of_vae(), PartSource::of_diffusers).source;
  vae.name = "vae";
  auto text = find_part(paths.text_encoder, file, need_of_llama(), of_folder("text_encoder")).source;
  auto clip = find_part(paths.text_encoder_2, file, need_of_clip(transformer), of_folder("text_encoder_2")).source;
  const auto tokenizers = find_tokenizers(paths);

  std::optional<JsonFile> processor;
  if (of_image && text.config.has("vision_config")) {  // a folder's LLaVA is whole
    const auto size = JsonFile(text.config.path(), text.config.json()["vision_config"]).count("image_size", 336);
    processor = image_processor_of(text, size);
  } else if (of_image) {
    const auto tower = find_part(paths.image_encoder, file, need_of_tower(), of_folder("image_encoder")).source;
    const auto tokenizer = open_llama_tokenizer(tokenizers.llama);
    const auto place = tokenizer.id(kImageToken);
    if (!place)
      throw Error("tokenizer", fmt::format("{}: has no token \"{}\", the place of a picture", tokenizers.llama.string(),
                                           kImageToken));
    processor = image_processor_of(tower, tower.config.count("image_size"));
    text = llava_of(text, tower, *place);
  }
  return {.model = paths.model,
          .index = JsonFile(paths.model,
                            {{"_class_name", of_image ? "HunyuanVideoImageToVideoPipeline" : "HunyuanVideoPipeline"}}),
          .scheduler_config = JsonFile(paths.model, {{"_class_name", "FlowMatchEulerDiscreteScheduler"},
                                                     {"num_train_timesteps", 1000},
                                                     {"shift", 7.0},
                                                     {"use_dynamic_shifting", false}}),
          .text_encoder = std::move(text),
          .text_encoder_2 = std::move(clip),
          .transformer = std::move(transformer),
          .vae = std::move(vae),
          .image_processor = std::move(processor),
          .tokenizer = tokenizers.llama,
          .open_tokenizer = [dir = tokenizers.llama] { return open_llama_tokenizer(dir); },
          .open_tokenizer_2 = [dir = tokenizers.clip] { return open_clip_tokenizer(dir); }};
}

std::vector<Need> needs_of(const FileTable& file) {
  const auto transformer = transformer_in(file).value().source;
  const bool concatenates = transformer.config.has("image_condition_type");
  const bool of_image = concatenates || is_of_image({.model = file.path()});
  return {need_of_llama(),
          need_of_clip(transformer),
          need_of_vae(),
          need_of_tower(of_image ? "" : "where it is for image to video"),
          {.option = "tokenizer",
           .what = "the tokenizers of LLaMA and CLIP",
           .example = "a folder with \"tokenizer\" and \"tokenizer_2\" of hunyuanvideo-community/HunyuanVideo",
           .in_comfyui = "comfy"}};
}

}  // namespace eav::hunyuan_video
