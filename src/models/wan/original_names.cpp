#include "models/wan/original_names.h"

#include <fmt/format.h>

#include <array>
#include <optional>

namespace eav::wan {
namespace {

const std::vector<KeyGroup>& transformer_table() {
  static const std::vector<KeyGroup> table{
      {"blocks.",
       "blocks.",
       {
           {"self_attn.q.", "attn1.to_q."},
           {"self_attn.k.", "attn1.to_k."},
           {"self_attn.v.", "attn1.to_v."},
           {"self_attn.o.", "attn1.to_out.0."},
           {"self_attn.", "attn1."},  // norm_q, norm_k
           {"cross_attn.q.", "attn2.to_q."},
           {"cross_attn.k.", "attn2.to_k."},
           {"cross_attn.v.", "attn2.to_v."},
           {"cross_attn.o.", "attn2.to_out.0."},
           {"cross_attn.k_img.", "attn2.add_k_proj."},
           {"cross_attn.v_img.", "attn2.add_v_proj."},
           {"cross_attn.norm_k_img.", "attn2.norm_added_k."},
           {"cross_attn.", "attn2."},  // norm_q, norm_k
           {"norm3.", "norm2."},
           {"ffn.0.", "ffn.net.0.proj."},
           {"ffn.2.", "ffn.net.2."},
           {"modulation", "scale_shift_table"},
           {"", ""},
       }},
      {"",
       "",
       {
           {"time_embedding.0.", "condition_embedder.time_embedder.linear_1."},
           {"time_embedding.2.", "condition_embedder.time_embedder.linear_2."},
           {"time_projection.1.", "condition_embedder.time_proj."},
           {"text_embedding.0.", "condition_embedder.text_embedder.linear_1."},
           {"text_embedding.2.", "condition_embedder.text_embedder.linear_2."},
           {"img_emb.proj.0.", "condition_embedder.image_embedder.norm1."},
           {"img_emb.proj.1.", "condition_embedder.image_embedder.ff.net.0.proj."},
           {"img_emb.proj.3.", "condition_embedder.image_embedder.ff.net.2."},
           {"img_emb.proj.4.", "condition_embedder.image_embedder.norm2."},
           {"img_emb.emb_pos", "condition_embedder.image_embedder.pos_embed"},
           {"head.head.", "proj_out."},
           {"head.modulation", "scale_shift_table"},
           {"", ""},
       }},
  };
  return table;
}

// ---- the autoencoder ------------------------------------------------------------------------------------------------

// A residual block is one list: norm, SiLU, convolution, and these once more.
std::optional<std::string> resnet_layer(std::string_view rest) {
  static constexpr std::array kLayers{
      std::pair{"residual.0.", "norm1."}, std::pair{"residual.2.", "conv1."},       std::pair{"residual.3.", "norm2."},
      std::pair{"residual.6.", "conv2."}, std::pair{"shortcut.", "conv_shortcut."},
  };
  for (const auto& [original, ours] : kLayers)
    if (rest.starts_with(original)) return ours + std::string(rest.substr(std::string_view(original).size()));
  return std::nullopt;
}

std::string mid_block(std::string_view rest) {
  const auto at = leading_number(rest);
  if (!at || at->first > 2 || !at->second.starts_with('.')) return "mid_block." + std::string(rest);
  const auto layer = at->second.substr(1);
  if (at->first == 1) return fmt::format("mid_block.attentions.0.{}", layer);
  return fmt::format("mid_block.resnets.{}.{}", at->first / 2, resnet_layer(layer).value_or(std::string(layer)));
}

// Of 2.1's encoder, whose blocks and what halves their resolution are one list here too.
std::string down_blocks(std::string_view rest) {
  const auto at = leading_number(rest);
  if (!at || !at->second.starts_with('.')) return "down_blocks." + std::string(rest);
  const auto layer = at->second.substr(1);
  return fmt::format("down_blocks.{}.{}", at->first, resnet_layer(layer).value_or(std::string(layer)));
}

// Of 2.1's decoder: a level has a residual block more than the encoder's, then what doubles the resolution.
std::string up_blocks(std::string_view rest, int64_t resnets) {
  const auto at = leading_number(rest);
  if (!at || !at->second.starts_with('.')) return "up_blocks." + std::string(rest);
  const auto layer = at->second.substr(1);
  const auto level = at->first / (resnets + 2), place = at->first % (resnets + 2);
  if (const auto name = resnet_layer(layer)) return fmt::format("up_blocks.{}.resnets.{}.{}", level, place, *name);
  return fmt::format("up_blocks.{}.upsamplers.0.{}", level, layer);
}

// Of 2.2's, whose levels are lists within a list: "0.downsamples.1.residual.2.weight".
std::optional<std::string> nested(std::string_view rest, std::string_view list, std::string_view ours,
                                  std::string_view resampler) {
  const auto level = leading_number(rest);
  if (!level || !level->second.starts_with(list)) return std::nullopt;
  const auto place = leading_number(level->second.substr(list.size()));
  if (!place || !place->second.starts_with('.')) return std::nullopt;
  const auto layer = place->second.substr(1);
  if (const auto name = resnet_layer(layer))
    return fmt::format("{}.{}.resnets.{}.{}", ours, level->first, place->first, *name);
  return fmt::format("{}.{}.{}.{}", ours, level->first, resampler, layer);
}

std::string of_half(std::string_view rest, int64_t resnets) {
  const auto behind = [&](std::string_view beginning) { return rest.substr(beginning.size()); };
  if (rest.starts_with("conv1.")) return "conv_in." + std::string(behind("conv1."));
  if (rest.starts_with("head.0.")) return "norm_out." + std::string(behind("head.0."));
  if (rest.starts_with("head.2.")) return "conv_out." + std::string(behind("head.2."));
  if (rest.starts_with("middle.")) return mid_block(behind("middle."));
  if (rest.starts_with("downsamples.")) {
    const auto levels = behind("downsamples.");
    return nested(levels, ".downsamples.", "down_blocks", "downsampler").value_or(down_blocks(levels));
  }
  if (rest.starts_with("upsamples.")) {
    const auto levels = behind("upsamples.");
    return nested(levels, ".upsamples.", "up_blocks", "upsampler").value_or(up_blocks(levels, resnets));
  }
  return std::string(rest);
}

}  // namespace

const std::vector<KeyGroup>& original_table() { return transformer_table(); }

std::vector<NamedRows> transformer_names(const std::string& key) {
  // The norms before attention and feed-forward have no weights: "norm2" is this project's own name.
  return find_names(transformer_table(), key, 0);
}

std::vector<NamedRows> vae_names(const std::string& key, int64_t resnets) {
  const std::string_view view = key;
  for (const std::string_view half : {"encoder.", "decoder."})
    if (view.starts_with(half)) return {{std::string(half) + of_half(view.substr(half.size()), resnets)}};
  if (view.starts_with("conv1.")) return {{"quant_conv." + key.substr(6)}};
  if (view.starts_with("conv2.")) return {{"post_quant_conv." + key.substr(6)}};
  return {{key}};
}

}  // namespace eav::wan
