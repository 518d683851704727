#include "models/hunyuan_video/original_names.h"

#include <fmt/format.h>

#include <utility>

namespace eav::hunyuan_video {
// The second spelling of a layer is that of ComfyUI's modules, in which it saves models and LoRAs are trained.
const KeyTable& transformer_table() {
  static const KeyTable table{
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

namespace {

constexpr int64_t kLevels = 4;       // of resolution, of the autoencoder that is published
constexpr int64_t kMostResnets = 4;  // of a level

KeyTable make_vae_table() {
  std::vector<KeyRename> lines;
  for (const std::string half : {"encoder.", "decoder."}) {
    const bool down = half == "encoder.";
    lines.push_back({half + "norm_out.", half + "conv_norm_out."});
    const auto attention = half + "mid.attn_1.", ours = half + "mid_block.attentions.0.";
    lines.push_back({attention + "norm.", ours + "group_norm."});
    for (const auto& [layer, name] : {std::pair{"q.", "to_q."}, std::pair{"k.", "to_k."}, std::pair{"v.", "to_v."},
                                      std::pair{"proj_out.", "to_out.0."}}) {
      lines.push_back({.original = attention + layer + "weight", .ours = ours + name + "weight", .matrix = true});
      lines.push_back({attention + layer, ours + name});
    }
    for (const int64_t i : {0, 1})
      lines.push_back({fmt::format("{}mid.block_{}.", half, i + 1), fmt::format("{}mid_block.resnets.{}.", half, i)});
    for (int64_t level = 0; level < kLevels; ++level) {
      // The decoder's are counted from the video.
      const auto original = fmt::format("{}{}.{}.", half, down ? "down" : "up", level);
      const auto block = down ? fmt::format("{}down_blocks.{}.", half, level)
                              : fmt::format("{}up_blocks.{}.", half, kLevels - 1 - level);
      for (int64_t i = 0; i < kMostResnets; ++i) {
        const auto there = fmt::format("{}block.{}.", original, i), here = fmt::format("{}resnets.{}.", block, i);
        lines.push_back({there + "nin_shortcut.", here + "conv_shortcut."});
        lines.push_back({there, here});
      }
      lines.push_back(
          {original + (down ? "downsample." : "upsample."), block + (down ? "down" : "up") + "samplers.0."});
    }
  }
  lines.push_back({"", ""});
  return {{"", "", std::move(lines)}};
}

}  // namespace

const KeyTable& vae_table() {
  static const auto table = make_vae_table();
  return table;
}

std::vector<NamedRows> transformer_names(const std::string& key, int64_t channels) {
  return find_names(transformer_table(), key, channels);
}

std::vector<NamedRows> vae_names(const std::string& key) { return find_names(vae_table(), key, 0); }

}  // namespace eav::hunyuan_video
