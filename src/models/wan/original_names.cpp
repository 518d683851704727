#include "models/wan/original_names.h"

#include <fmt/format.h>

#include <array>
#include <utility>

namespace eav::wan {

const KeyTable& transformer_table() {
  // The norms before attention and feed-forward have no weights: "norm2" is this project's own name.
  static const KeyTable table{
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

namespace {

constexpr int64_t kLevels = 4,
                  kResnets = 2;  // of the autoencoders that are published: resolutions, and residual blocks

// A residual block is one list: norm, SiLU, convolution, and these once more.
void add_resnet(std::vector<KeyRename>& lines, const std::string& original, const std::string& ours) {
  static constexpr std::array kLayers{
      std::pair{"residual.0.", "norm1."}, std::pair{"residual.2.", "conv1."},       std::pair{"residual.3.", "norm2."},
      std::pair{"residual.6.", "conv2."}, std::pair{"shortcut.", "conv_shortcut."},
  };
  for (const auto& [layer, name] : kLayers) lines.push_back({original + layer, ours + name});
}

// A level's residual blocks, of which the decoder has one more, and then what halves or doubles the resolution: each
// level a list of its own in 2.2's, all in one list in 2.1's, whose encoder is one list here too.
void add_levels(std::vector<KeyRename>& lines, const std::string& half, bool nested) {
  const bool down = half == "encoder.";
  const std::string list = down ? "downsamples." : "upsamples.", resampler = down ? "downsampler" : "upsampler";
  const auto blocks = half + (down ? "down_blocks." : "up_blocks.");
  const auto resnets = kResnets + (down ? 0 : 1);
  for (int64_t level = 0; level < kLevels; ++level)
    for (int64_t place = 0; place <= resnets; ++place) {
      const auto number = level * (resnets + 1) + place;
      const auto original = nested ? fmt::format("{}{}{}.{}{}.", half, list, level, list, place)
                                   : fmt::format("{}{}{}.", half, list, number);
      if (down && !nested) {
        add_resnet(lines, original, fmt::format("{}{}.", blocks, number));
        lines.push_back({original, fmt::format("{}{}.", blocks, number)});
      } else if (place < resnets) {
        add_resnet(lines, original, fmt::format("{}{}.resnets.{}.", blocks, level, place));
      } else {
        lines.push_back({original, fmt::format("{}{}.{}{}", blocks, level, resampler, nested ? "." : "s.0.")});
      }
    }
}

KeyTable make_vae_table(bool nested) {
  std::vector<KeyRename> lines{{"conv1.", "quant_conv."}, {"conv2.", "post_quant_conv."}};
  for (const std::string half : {"encoder.", "decoder."}) {
    lines.push_back({half + "conv1.", half + "conv_in."});
    lines.push_back({half + "head.0.", half + "norm_out."});
    lines.push_back({half + "head.2.", half + "conv_out."});
    lines.push_back({half + "middle.1.", half + "mid_block.attentions.0."});
    for (const int64_t i : {0, 1})
      add_resnet(lines, fmt::format("{}middle.{}.", half, 2 * i), fmt::format("{}mid_block.resnets.{}.", half, i));
    add_levels(lines, half, nested);
  }
  lines.push_back({"", ""});
  return {{"", "", std::move(lines)}};
}

}  // namespace

const KeyTable& vae_table(bool residual) {
  static const auto of_2_1 = make_vae_table(/*nested=*/false), of_2_2 = make_vae_table(/*nested=*/true);
  return residual ? of_2_2 : of_2_1;
}

std::vector<NamedRows> transformer_names(const std::string& key) { return find_names(transformer_table(), key, 0); }

std::vector<NamedRows> vae_names(const std::string& key, bool residual) {
  return find_names(vae_table(residual), key, 0);
}

}  // namespace eav::wan
