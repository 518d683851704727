#include "models/cogvideox/vae_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "weights/limits.h"

namespace eav::cogvideox {

VaeConfig VaeConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  const auto ratio = config.get<double>("temporal_compression_ratio", 4);  // written as 4 or 4.0
  VaeConfig c{
      .block_out_channels = config.get<std::vector<int64_t>>("block_out_channels", {128, 256, 256, 512}),
      .latent_channels = config.count("latent_channels", 16),
      .out_channels = config.count("out_channels", 3),
      .layers_per_block = count_layers(config, "layers_per_block", 3),
      .norm_num_groups = config.count("norm_num_groups", 32),
      .temporal_compression_ratio = ratio >= 1 && ratio <= 64 ? static_cast<int64_t>(ratio) : 0,
      .sample_height = config.count("sample_height", 480),
      .sample_width = config.count("sample_width", 720),
      .scaling_factor = config.get<double>("scaling_factor", 1.15258426),
      .invert_scale_latents = config.get<bool>("invert_scale_latents", false),
      .use_post_quant_conv = config.get<bool>("use_post_quant_conv", false),
  };

  if (c.block_out_channels.empty() || c.levels() > 8)
    throw fail(fmt::format("\"block_out_channels\" has {} entries, expected 1 to 8", c.levels()));
  for (const auto channels : c.block_out_channels)
    if (channels < 1 || channels % c.norm_num_groups != 0)
      throw fail(fmt::format("\"block_out_channels\" has {}, which the {} groups of \"norm_num_groups\" do not divide",
                             channels, c.norm_num_groups));
  if (static_cast<double>(c.temporal_compression_ratio) != ratio ||
      !std::has_single_bit(static_cast<uint64_t>(c.temporal_compression_ratio)))
    throw fail(fmt::format("\"temporal_compression_ratio\" is {}, expected a power of two up to 64", ratio));
  if (c.temporal_compression_ratio > c.spatial_compression())
    throw fail(fmt::format("\"temporal_compression_ratio\" is {}, but {} levels can double the frames {} times only",
                           ratio, c.levels(), c.levels() - 1));
  if (c.scaling_factor == 0) throw fail("\"scaling_factor\" is 0");
  const std::string up_block = "CogVideoXUpBlock3D";
  const auto up_blocks = config.get<std::vector<std::string>>(
      "up_block_types", std::vector<std::string>(c.block_out_channels.size(), up_block));
  if (up_blocks.size() != c.block_out_channels.size())
    throw fail(fmt::format("\"up_block_types\" has {} entries, expected one for each of the {} levels",
                           up_blocks.size(), c.levels()));
  for (const auto& type : up_blocks)
    if (type != up_block) throw fail(fmt::format("\"up_block_types\" has \"{}\", supported is \"{}\"", type, up_block));
  if (const auto act = config.get<std::string>("act_fn", "silu"); act != "silu" && act != "swish")
    throw fail(fmt::format("\"act_fn\" is \"{}\", supported is \"silu\"", act));
  // The reference makes this layer as wide as the video, and applies it to the latents.
  if (c.use_post_quant_conv && c.latent_channels != c.out_channels)
    throw fail(fmt::format("\"use_post_quant_conv\" needs as many latent channels ({}) as video channels ({})",
                           c.latent_channels, c.out_channels));
  return c;
}

}  // namespace eav::cogvideox
