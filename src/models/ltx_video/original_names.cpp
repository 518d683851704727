#include "models/ltx_video/original_names.h"

#include <array>
#include <string_view>
#include <utility>

namespace eav::ltx_video {
namespace {

using Names = std::vector<std::string_view>;

const std::vector<KeyGroup>& transformer_table() {
  static const std::vector<KeyGroup> table{
      {"transformer_blocks.",
       "transformer_blocks.",
       {
           {"attn1.q_norm.", "attn1.norm_q."},
           {"attn1.k_norm.", "attn1.norm_k."},
           {"attn2.q_norm.", "attn2.norm_q."},
           {"attn2.k_norm.", "attn2.norm_k."},
           {"", ""},
       }},
      {"", "", {{"patchify_proj.", "proj_in."}, {"adaln_single.", "time_embed."}, {"", ""}}},
  };
  return table;
}

// The blocks of the VAE in diffusers' names, by their numbers in the original's one list.
struct VaeNames {
  Names down_blocks, up_blocks;
};

VaeNames names_of(Release release) {
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

// "encoder.down_blocks.3.x" -> "encoder.down_blocks.1.x"; keys of other layers, and of blocks without a name, stay.
std::string with_block_named(const std::string& key, std::string_view list, const Names& names) {
  if (!key.starts_with(list)) return key;
  const auto block = leading_number(std::string_view(key).substr(list.size()));
  if (!block || block->first >= std::ssize(names)) return key;
  return std::string(list.substr(0, list.find('.') + 1)).append(names[block->first]).append(block->second);
}

}  // namespace

const std::vector<KeyGroup>& original_table() { return transformer_table(); }

std::vector<NamedRows> transformer_names(const std::string& key) { return find_names(transformer_table(), key, 0); }

std::vector<NamedRows> vae_names(const std::string& original, Release release) {
  static constexpr std::array<std::pair<std::string_view, std::string_view>, 5> kRenames{{
      {"res_blocks", "resnets"},
      {"norm3.norm", "norm3"},
      {"conv_shortcut", "conv_shortcut.conv"},
      {"last_time_embedder", "time_embedder"},
      {"last_scale_shift_table", "scale_shift_table"},
  }};
  if (original == "per_channel_statistics.mean-of-means") return {{"latents_mean"}};
  if (original == "per_channel_statistics.std-of-means") return {{"latents_std"}};
  if (original.starts_with("per_channel_statistics.")) return {};
  const auto names = names_of(release);
  auto key = with_block_named(original, "encoder.down_blocks.", names.down_blocks);
  key = with_block_named(key, "decoder.up_blocks.", names.up_blocks);
  return {{replaced(std::move(key), kRenames)}};
}

}  // namespace eav::ltx_video
