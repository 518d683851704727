#include "models/ltx_video/original_names.h"

#include <fmt/format.h>

#include <utility>

namespace eav::ltx_video {
const KeyTable& transformer_table() {
  static const KeyTable table{
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

namespace {

using Names = std::vector<std::string>;

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

// A residual block's layers whose names differ.
void add_resnet(std::vector<KeyRename>& lines, const std::string& original, const std::string& ours) {
  lines.push_back({original + "norm3.norm.", ours + "norm3."});
  lines.push_back({original + "conv_shortcut.", ours + "conv_shortcut.conv."});
  lines.push_back({original, ours});
}

KeyTable make_vae_table(Release release) {
  constexpr int64_t kMostResnets = 16;  // of a block
  std::vector<KeyRename> lines{{"per_channel_statistics.mean-of-means", "latents_mean"},
                               {"per_channel_statistics.std-of-means", "latents_std"},
                               {"decoder.last_time_embedder.", "decoder.time_embedder."},
                               {"decoder.last_scale_shift_table", "decoder.scale_shift_table"}};
  const auto [down, up] = names_of(release);
  for (const auto& [list, names] : {std::pair{"encoder.down_blocks.", &down}, std::pair{"decoder.up_blocks.", &up}}) {
    const auto half = std::string(list).substr(0, std::string("encoder.").size());
    for (size_t block = 0; block < names->size(); ++block) {
      const auto original = fmt::format("{}{}.", list, block), ours = fmt::format("{}{}.", half, (*names)[block]);
      for (int64_t i = 0; i < kMostResnets; ++i)
        add_resnet(lines, fmt::format("{}res_blocks.{}.", original, i), fmt::format("{}resnets.{}.", ours, i));
      add_resnet(lines, original, ours);
    }
  }
  lines.push_back({"", ""});
  return {{"", "", std::move(lines)}};
}

}  // namespace

Release release_of(const JsonFile& vae) {
  const auto blocks = vae.get<std::vector<std::string>>("down_block_types", {});
  if (!blocks.empty() && blocks[0] == "LTXVideo095DownBlock3D") return Release::v095;
  return vae.get<bool>("timestep_conditioning", false) ? Release::v091 : Release::v090;
}

const KeyTable& vae_table(Release release) {
  static const auto v090 = make_vae_table(Release::v090), v091 = make_vae_table(Release::v091),
                    v095 = make_vae_table(Release::v095);
  return release >= Release::v095 ? v095 : release >= Release::v091 ? v091 : v090;
}

std::vector<NamedRows> transformer_names(const std::string& key) { return find_names(transformer_table(), key, 0); }

std::vector<NamedRows> vae_names(const std::string& key, Release release) {
  auto names = find_names(vae_table(release), key, 0);
  if (key.starts_with("per_channel_statistics.") && names.front().key == key) return {};
  return names;
}

}  // namespace eav::ltx_video
