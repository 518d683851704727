#include "models/hunyuan_video/vae_config.h"

#include <fmt/format.h>

#include <bit>

#include "weights/limits.h"

namespace eav::hunyuan_video {
namespace {

constexpr int64_t kTemporalRatio = 4;   // the only one that the reference knows
constexpr int64_t kTemporalLevels = 2;  // that double the frames for it

}  // namespace

VaeConfig VaeConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  VaeConfig c{
      .block_out_channels = config.get<std::vector<int64_t>>("block_out_channels", {128, 256, 512, 512}),
      .latent_channels = config.count("latent_channels", 16),
      .out_channels = config.count("out_channels", 3),
      .layers_per_block = count_layers(config, "layers_per_block", 2),
      .norm_num_groups = config.count("norm_num_groups", 32),
      .spatial_compression_ratio = config.count("spatial_compression_ratio", 8),
      .temporal_compression_ratio = config.count("temporal_compression_ratio", kTemporalRatio),
      .scaling_factor = config.get<double>("scaling_factor", 0.476986),
      .mid_block_add_attention = config.get<bool>("mid_block_add_attention", true),
  };

  if (c.levels() <= kTemporalLevels || c.levels() > 8)
    throw fail(fmt::format("\"block_out_channels\" has {} entries, expected {} to 8", c.levels(), kTemporalLevels + 1));
  for (const auto channels : c.block_out_channels)
    if (channels < 1 || channels % c.norm_num_groups != 0)
      throw fail(fmt::format("\"block_out_channels\" has {}, which the {} groups of \"norm_num_groups\" do not divide",
                             channels, c.norm_num_groups));
  // Sizes of tiles are multiples of all these.
  if (!std::has_single_bit(static_cast<uint64_t>(c.spatial_compression_ratio)) || c.spatial_compression_ratio > 64)
    throw fail(fmt::format("\"spatial_compression_ratio\" is {}, expected a power of two up to 64",
                           c.spatial_compression_ratio));
  if (c.spatial_compression_ratio > int64_t{1} << c.levels())
    throw fail(fmt::format("\"spatial_compression_ratio\" is {}, but each of {} levels doubles height and width once",
                           c.spatial_compression_ratio, c.levels()));
  if (c.temporal_compression_ratio != kTemporalRatio)
    throw fail(fmt::format("\"temporal_compression_ratio\" is {}, supported is {}", c.temporal_compression_ratio,
                           kTemporalRatio));
  if (c.scaling_factor == 0) throw fail("\"scaling_factor\" is 0");
  const std::string up_block = "HunyuanVideoUpBlock3D";
  const auto up_blocks = config.get<std::vector<std::string>>(
      "up_block_types", std::vector<std::string>(c.block_out_channels.size(), up_block));
  if (up_blocks.size() != c.block_out_channels.size())
    throw fail(fmt::format("\"up_block_types\" has {} entries, expected one for each of the {} levels",
                           up_blocks.size(), c.levels()));
  for (const auto& type : up_blocks)
    if (type != up_block) throw fail(fmt::format("\"up_block_types\" has \"{}\", supported is \"{}\"", type, up_block));
  if (const auto act = config.get<std::string>("act_fn", "silu"); act != "silu" && act != "swish")
    throw fail(fmt::format("\"act_fn\" is \"{}\", supported is \"silu\"", act));
  return c;
}

// The last level but one is the last to double the frames.
bool VaeConfig::doubles_time(int64_t level) const {
  return level >= levels() - 1 - kTemporalLevels && level < levels() - 1;
}

}  // namespace eav::hunyuan_video
