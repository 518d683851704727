#include "models/wan/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "weights/limits.h"

namespace eav::wan {

TransformerConfig TransformerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  const auto count_or_none = [&](const char* field) {
    return config.has(field) ? std::optional(config.count(field)) : std::nullopt;
  };
  TransformerConfig c{
      .patch_size = {},
      .num_attention_heads = config.count("num_attention_heads", 40),
      .attention_head_dim = config.count("attention_head_dim", 128),
      .in_channels = config.count("in_channels", 16),
      .out_channels = config.count("out_channels", 16),
      .text_dim = config.count("text_dim", 4096),
      .freq_dim = config.count("freq_dim", 256),
      .ffn_dim = config.count("ffn_dim", 13824),
      .num_layers = count_layers(config, "num_layers", 40),
      .cross_attn_norm = config.get<bool>("cross_attn_norm", true),
      .eps = config.get<double>("eps", 1e-6),
      .rope_max_seq_len = count_up_to(1 << 20, config, "rope_max_seq_len", 1024),
      .image_dim = count_or_none("image_dim"),
      .pos_embed_seq_len = count_or_none("pos_embed_seq_len"),
  };
  const auto patch = config.get<std::vector<int64_t>>("patch_size", {1, 2, 2});
  if (patch.size() != c.patch_size.size() ||
      std::ranges::any_of(patch, [](int64_t side) { return side < 1 || side > 64; }))
    throw fail("\"patch_size\" is not three numbers from 1 to 64");
  std::ranges::copy(patch, c.patch_size.begin());
  if (const auto norm = config.get<std::string>("qk_norm", "rms_norm_across_heads"); norm != "rms_norm_across_heads")
    throw fail(fmt::format("\"qk_norm\" is \"{}\", supported is \"rms_norm_across_heads\"", norm));
  if (c.attention_head_dim < 6 || c.attention_head_dim % 2 != 0)
    throw fail(fmt::format("heads of {} channels cannot hold a rotary embedding: an even number of at least 6 can",
                           c.attention_head_dim));
  if (c.freq_dim < 2) throw fail("\"freq_dim\" is 1, expected at least 2");
  if (const auto added = count_or_none("added_kv_proj_dim");
      added.has_value() != c.image_dim.has_value() || (added && *added != c.channels()))
    throw fail(fmt::format("\"added_kv_proj_dim\" is {}, expected {}", added ? fmt::to_string(*added) : "null",
                           c.image_dim
                               ? fmt::format("the {} channels of the blocks beside an \"image_dim\"", c.channels())
                               : "null as \"image_dim\" is"));
  if (c.pos_embed_seq_len && !c.image_dim)
    throw fail("\"pos_embed_seq_len\" is set, but \"image_dim\" is not: there are no pictures to embed");
  return c;
}

}  // namespace eav::wan
