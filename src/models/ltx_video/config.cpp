#include "models/ltx_video/config.h"

#include <fmt/format.h>

#include "weights/limits.h"

namespace eav::ltx_video {

TransformerConfig TransformerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  TransformerConfig c{
      .num_attention_heads = config.count("num_attention_heads", 32),
      .attention_head_dim = config.count("attention_head_dim", 64),
      .in_channels = config.count("in_channels", 128),
      .num_layers = count_layers(config, "num_layers", 28),
      .cross_attention_dim = config.count("cross_attention_dim", 2048),
      .caption_channels = config.count("caption_channels", 4096),
      .norm_eps = config.get<double>("norm_eps", 1e-6),
  };
  const auto only = [&](const char* field, const std::string& supported) {
    if (const auto value = config.get<std::string>(field, supported); value != supported)
      throw fail(fmt::format("\"{}\" is \"{}\", supported is \"{}\"", field, value, supported));
  };
  only("activation_fn", "gelu-approximate");
  only("qk_norm", "rms_norm_across_heads");
  for (const auto* field : {"patch_size", "patch_size_t"})
    if (config.count(field, 1) != 1) throw fail(fmt::format("\"{}\" is not 1, which is not supported", field));
  if (config.get<int64_t>("out_channels", c.in_channels) != c.in_channels)
    throw fail("\"out_channels\" differs from \"in_channels\", which is not supported");
  if (c.cross_attention_dim != c.channels())
    throw fail(fmt::format("\"cross_attention_dim\" is {}, expected the {} channels of the blocks",
                           c.cross_attention_dim, c.channels()));
  if (c.channels() < 6 || c.channels() % 2 != 0)
    throw fail(
        fmt::format("{} channels cannot hold a rotary embedding: an even number of at least 6 can", c.channels()));
  return c;
}

}  // namespace eav::ltx_video
