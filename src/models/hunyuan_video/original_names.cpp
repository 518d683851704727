#include "models/hunyuan_video/original_names.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kLevels = 4;  // of the autoencoder that is published

// The second spelling of a layer is that of ComfyUI's modules, in which it saves models and LoRAs are trained.
const std::vector<KeyGroup>& transformer_table() {
  static const std::vector<KeyGroup> table{
      {"double_blocks.",
       "transformer_blocks.",
       {
           {"img_attn_qkv.", "attn.to_q.", 0, 1},
           {"img_attn_qkv.", "attn.to_k.", 1, 2},
           {"img_attn_qkv.", "attn.to_v.", 2, 3},
           {"img_attn.qkv.", "attn.to_q.", 0, 1},
           {"img_attn.qkv.", "attn.to_k.", 1, 2},
           {"img_attn.qkv.", "attn.to_v.", 2, 3},
           {"txt_attn_qkv.", "attn.add_q_proj.", 0, 1},
           {"txt_attn_qkv.", "attn.add_k_proj.", 1, 2},
           {"txt_attn_qkv.", "attn.add_v_proj.", 2, 3},
           {"txt_attn.qkv.", "attn.add_q_proj.", 0, 1},
           {"txt_attn.qkv.", "attn.add_k_proj.", 1, 2},
           {"txt_attn.qkv.", "attn.add_v_proj.", 2, 3},
           {"img_attn_q_norm.", "attn.norm_q."},
           {"img_attn.norm.query_norm.scale", "attn.norm_q.weight"},
           {"img_attn_k_norm.", "attn.norm_k."},
           {"img_attn.norm.key_norm.scale", "attn.norm_k.weight"},
           {"txt_attn_q_norm.", "attn.norm_added_q."},
           {"txt_attn.norm.query_norm.scale", "attn.norm_added_q.weight"},
           {"txt_attn_k_norm.", "attn.norm_added_k."},
           {"txt_attn.norm.key_norm.scale", "attn.norm_added_k.weight"},
           {"img_attn_proj.", "attn.to_out.0."},
           {"img_attn.proj.", "attn.to_out.0."},
           {"txt_attn_proj.", "attn.to_add_out."},
           {"txt_attn.proj.", "attn.to_add_out."},
           {"img_mod.linear.", "norm1.linear."},
           {"img_mod.lin.", "norm1.linear."},
           {"txt_mod.linear.", "norm1_context.linear."},
           {"txt_mod.lin.", "norm1_context.linear."},
           {"img_mlp.fc1.", "ff.net.0.proj."},
           {"img_mlp.0.", "ff.net.0.proj."},
           {"img_mlp.fc2.", "ff.net.2."},
           {"img_mlp.2.", "ff.net.2."},
           {"txt_mlp.fc1.", "ff_context.net.0.proj."},
           {"txt_mlp.0.", "ff_context.net.0.proj."},
           {"txt_mlp.fc2.", "ff_context.net.2."},
           {"txt_mlp.2.", "ff_context.net.2."},
           {"", ""},
       }},
      {"single_blocks.",
       "single_transformer_blocks.",
       {
           {"linear1.", "attn.to_q.", 0, 1},
           {"linear1.", "attn.to_k.", 1, 2},
           {"linear1.", "attn.to_v.", 2, 3},
           {"linear1.", "proj_mlp.", 3},
           {"linear2.", "proj_out."},
           {"q_norm.", "attn.norm_q."},
           {"norm.query_norm.scale", "attn.norm_q.weight"},
           {"k_norm.", "attn.norm_k."},
           {"norm.key_norm.scale", "attn.norm_k.weight"},
           {"modulation.linear.", "norm.linear."},
           {"modulation.lin.", "norm.linear."},
           {"", ""},
       }},
      {"txt_in.individual_token_refiner.blocks.",
       "context_embedder.token_refiner.refiner_blocks.",
       {
           {"self_attn_qkv.", "attn.to_q.", 0, 1},
           {"self_attn_qkv.", "attn.to_k.", 1, 2},
           {"self_attn_qkv.", "attn.to_v.", 2, 3},
           {"self_attn.qkv.", "attn.to_q.", 0, 1},
           {"self_attn.qkv.", "attn.to_k.", 1, 2},
           {"self_attn.qkv.", "attn.to_v.", 2, 3},
           {"self_attn_proj.", "attn.to_out.0."},
           {"self_attn.proj.", "attn.to_out.0."},
           {"mlp.fc1.", "ff.net.0.proj."},
           {"mlp.0.", "ff.net.0.proj."},
           {"mlp.fc2.", "ff.net.2."},
           {"mlp.2.", "ff.net.2."},
           {"adaLN_modulation.1.", "norm_out.linear."},
           {"", ""},  // norm1, norm2
       }},
      {"",
       "",
       {
           {"img_in.proj.", "x_embedder.proj."},
           {"time_in.mlp.0.", "time_text_embed.timestep_embedder.linear_1."},
           {"time_in.in_layer.", "time_text_embed.timestep_embedder.linear_1."},
           {"time_in.mlp.2.", "time_text_embed.timestep_embedder.linear_2."},
           {"time_in.out_layer.", "time_text_embed.timestep_embedder.linear_2."},
           {"guidance_in.mlp.0.", "time_text_embed.guidance_embedder.linear_1."},
           {"guidance_in.in_layer.", "time_text_embed.guidance_embedder.linear_1."},
           {"guidance_in.mlp.2.", "time_text_embed.guidance_embedder.linear_2."},
           {"guidance_in.out_layer.", "time_text_embed.guidance_embedder.linear_2."},
           {"vector_in.in_layer.", "time_text_embed.text_embedder.linear_1."},
           {"vector_in.out_layer.", "time_text_embed.text_embedder.linear_2."},
           {"txt_in.input_embedder.", "context_embedder.proj_in."},
           {"txt_in.t_embedder.mlp.0.", "context_embedder.time_text_embed.timestep_embedder.linear_1."},
           {"txt_in.t_embedder.in_layer.", "context_embedder.time_text_embed.timestep_embedder.linear_1."},
           {"txt_in.t_embedder.mlp.2.", "context_embedder.time_text_embed.timestep_embedder.linear_2."},
           {"txt_in.t_embedder.out_layer.", "context_embedder.time_text_embed.timestep_embedder.linear_2."},
           {"txt_in.c_embedder.linear_1.", "context_embedder.time_text_embed.text_embedder.linear_1."},
           {"txt_in.c_embedder.in_layer.", "context_embedder.time_text_embed.text_embedder.linear_1."},
           {"txt_in.c_embedder.linear_2.", "context_embedder.time_text_embed.text_embedder.linear_2."},
           {"txt_in.c_embedder.out_layer.", "context_embedder.time_text_embed.text_embedder.linear_2."},
           {"final_layer.linear.", "proj_out."},
           {"final_layer.adaLN_modulation.1.", "norm_out.linear.", 1, 2, 0},
           {"final_layer.adaLN_modulation.1.", "norm_out.linear.", 0, 1, 1},
           {"", ""},
       }},
  };
  return table;
}

// A level's layer: "block.1.nin_shortcut.conv.weight".
std::string level_layer(std::string_view rest) {
  const auto resampled = [&](std::string_view original, std::string_view ours) {
    return fmt::format("{}.0.{}", ours, rest.substr(original.size()));
  };
  if (rest.starts_with("downsample.")) return resampled("downsample.", "downsamplers");
  if (rest.starts_with("upsample.")) return resampled("upsample.", "upsamplers");
  static constexpr std::array kRenames{
      std::pair<std::string_view, std::string_view>{"block.", "resnets."},
      std::pair<std::string_view, std::string_view>{"nin_shortcut.", "conv_shortcut."}};
  return replaced(std::string(rest), kRenames);
}

std::string of_half(std::string_view half, std::string_view rest) {
  const auto behind = [&](std::string_view beginning) { return rest.substr(beginning.size()); };
  if (rest.starts_with("norm_out.")) return fmt::format("conv_norm_out.{}", behind("norm_out."));
  if (rest.starts_with("mid.block_1.")) return fmt::format("mid_block.resnets.0.{}", behind("mid.block_1."));
  if (rest.starts_with("mid.block_2.")) return fmt::format("mid_block.resnets.1.{}", behind("mid.block_2."));
  for (const auto& [list, ours] : {std::pair<std::string_view, std::string_view>{"down.", "down_blocks"},
                                   std::pair<std::string_view, std::string_view>{"up.", "up_blocks"}}) {
    if (!rest.starts_with(list)) continue;
    const auto level = leading_number(rest.substr(list.size()));
    if (!level || level->first >= kLevels || !level->second.starts_with('.')) break;
    // The decoder's are counted from the video.
    const auto number = half == "decoder." ? kLevels - 1 - level->first : level->first;
    return fmt::format("{}.{}.{}", ours, number, level_layer(level->second.substr(1)));
  }
  return std::string(rest);
}

}  // namespace

const std::vector<KeyGroup>& original_table() { return transformer_table(); }

std::vector<NamedRows> transformer_names(const std::string& key, int64_t channels) {
  return find_names(transformer_table(), key, channels);
}

std::vector<NamedRows> vae_names(const std::string& key) {
  static constexpr std::array kAttention{std::pair{"norm.", "group_norm."}, std::pair{"q.", "to_q."},
                                         std::pair{"k.", "to_k."}, std::pair{"v.", "to_v."},
                                         std::pair{"proj_out.", "to_out.0."}};
  const std::string_view view = key;
  for (const std::string_view half : {"encoder.", "decoder."}) {
    if (!view.starts_with(half)) continue;
    const auto rest = view.substr(half.size());
    const std::string_view attention = "mid.attn_1.";
    if (!rest.starts_with(attention)) return {{std::string(half) + of_half(half, rest)}};
    const auto layer = rest.substr(attention.size());
    for (const auto& [original, ours] : kAttention)
      if (layer.starts_with(original))
        return {{.key = fmt::format("{}mid_block.attentions.0.{}{}", half, ours,
                                    layer.substr(std::string_view(original).size())),
                 .matrix = layer.ends_with("weight") && !layer.starts_with("norm.")}};
  }
  return {{key}};
}

}  // namespace eav::hunyuan_video
