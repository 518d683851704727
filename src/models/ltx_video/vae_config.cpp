#include "models/ltx_video/vae_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>

namespace eav::ltx_video {
namespace {

constexpr int64_t kMostChannels = 1'000'000'000;

Error failure(const JsonFile& config, const std::string& what) { return Error(config.path().string() + ": " + what); }

// A list of `size` entries, which the file holds from the video's resolution to the latents': the other way round.
template <class T>
std::vector<T> reversed(const JsonFile& config, const std::string& field, std::vector<T> fallback, size_t size) {
  const auto list = config.get<std::vector<T>>(field, std::move(fallback));
  if (list.size() != size)
    throw failure(config, fmt::format("\"{}\" has {} entries, expected {}", field, list.size(), size));
  return std::vector<T>(list.rbegin(), list.rend());
}

std::vector<VaeLevel> read_levels(const JsonFile& config, bool timestep_conditioning) {
  const std::string width = "decoder_block_out_channels";
  auto channels = config.get<std::vector<int64_t>>(width, {128, 256, 512, 512});
  const auto blocks = channels.size();
  if (blocks < 1 || blocks > 8)
    throw failure(config, fmt::format("\"{}\" has {} entries, expected 1 to 8", width, blocks));
  std::ranges::reverse(channels);
  const auto layers = reversed<int64_t>(config, "decoder_layers_per_block", {4, 3, 3, 3, 4}, blocks + 1);
  const auto noise = reversed<bool>(config, "decoder_inject_noise", std::vector<bool>(5), blocks + 1);
  const auto upsamples = reversed<bool>(config, "decoder_spatio_temporal_scaling", {true, true, true, false}, blocks);
  const auto residual = reversed<bool>(config, "upsample_residual", std::vector<bool>(4), blocks);
  const auto factors = reversed<int64_t>(config, "upsample_factor", {1, 1, 1, 1}, blocks);

  for (const auto count : channels)
    if (count < 1 || count > kMostChannels)
      throw failure(config, fmt::format("\"{}\" has {}, expected 1 to {}", width, count, kMostChannels));
  for (const auto count : layers)
    if (count < 0 || count > 1000)
      throw failure(config, fmt::format("\"decoder_layers_per_block\" has {}, expected 0 to 1000", count));

  std::vector<VaeLevel> levels{
      {channels[0], channels[0], layers[0], noise[0], /*upsamples=*/false, /*upsample_residual=*/false}};
  for (size_t i = 0; i < blocks; ++i) {
    const auto factor = factors[i], before = levels.back().out;
    if (factor < 1 || 8 % factor != 0 || before % factor != 0 || channels[i] % factor != 0)
      throw failure(config, fmt::format("\"upsample_factor\" has {}, expected a divisor of 8 and of {} and {} channels",
                                        factor, before, channels[i]));
    const VaeLevel level{before / factor, channels[i] / factor, layers[i + 1], noise[i + 1],
                         upsamples[i],    residual[i],          factor};
    const bool changes = level.in != level.out;
    if (factor != 1 && (changes || !level.upsamples))
      throw failure(config,
                    fmt::format("\"upsample_factor\" has {} for a block of {} to {} channels that {}", factor, level.in,
                                level.out, level.upsamples ? "changes their number" : "does not upsample"));
    // The reference gives such a block a timestep that is not embedded, and noise of as many channels as it takes.
    if (changes && (timestep_conditioning || level.inject_noise))
      throw failure(config, fmt::format("\"{}\" changes from {} to {} in a block with {}", width, level.in, level.out,
                                        timestep_conditioning ? "\"timestep_conditioning\"" : "injected noise"));
    if (level.upsamples && level.upsample_residual && level.out * factor % 8 != 0)
      throw failure(config,
                    fmt::format("\"upsample_residual\" needs channels in multiples of 8, not {}", level.out * factor));
    levels.push_back(level);
  }
  return levels;
}

}  // namespace

VaeConfig VaeConfig::read(const JsonFile& config) {
  const bool conditioned = config.get<bool>("timestep_conditioning", false);
  VaeConfig c{
      .latent_channels = config.count("latent_channels", 128),
      .out_channels = config.count("out_channels", 3),
      .levels = read_levels(config, conditioned),
      .patch_size = config.count("patch_size", 4),
      .resnet_norm_eps = config.get<double>("resnet_norm_eps", 1e-6),
      .scaling_factor = config.get<double>("scaling_factor", 1.0),
      .timestep_conditioning = conditioned,
      .decoder_causal = config.get<bool>("decoder_causal", false),
  };
  if (c.scaling_factor == 0) throw failure(config, "\"scaling_factor\" is 0");
  if (const auto frames = config.count("patch_size_t", 1); frames != 1)
    throw failure(config, fmt::format("\"patch_size_t\" is {}, supported is 1", frames));
  // Sizes of tiles are multiples of all these.
  if (!std::has_single_bit(static_cast<uint64_t>(c.patch_size)) || c.spatial_compression() > 64)
    throw failure(config, fmt::format("\"patch_size\" is {}, expected a power of two, and up to 64 pixels upsampled",
                                      c.patch_size));
  // Tiles are laid out by the encoder's ratio, unless the file gives another.
  const auto scaling = config.get<std::vector<bool>>("spatio_temporal_scaling", {true, true, true, false});
  const auto encoder_ratio = c.patch_size << std::min<int64_t>(std::count(scaling.begin(), scaling.end(), true), 32);
  if (const auto ratio = config.count("spatial_compression_ratio", encoder_ratio); ratio != c.spatial_compression())
    throw failure(config, fmt::format("\"spatial_compression_ratio\" is {}, but the decoder enlarges by {}", ratio,
                                      c.spatial_compression()));
  return c;
}

int64_t VaeConfig::temporal_compression() const {
  return int64_t{1} << std::ranges::count_if(levels, &VaeLevel::upsamples);
}

VaeEncoderConfig VaeEncoderConfig::read(const JsonFile& config) {
  const auto decoder = VaeConfig::read(config);
  const auto channels = config.get<std::vector<int64_t>>("block_out_channels", {128, 256, 512, 512});
  const auto types =
      config.get<std::vector<std::string>>("down_block_types", std::vector<std::string>(4, "LTXVideoDownBlock3D"));
  const bool rearranges = !types.empty() && types.back() == "LTXVideo095DownBlock3D";
  const auto blocks = std::ssize(channels) - (rearranges ? 1 : 0);
  if (blocks < 1 || blocks > 8)
    throw failure(config, fmt::format("\"block_out_channels\" has {} entries, expected 1 to 8", channels.size()));
  const auto layers = config.get<std::vector<int64_t>>("layers_per_block", {4, 3, 3, 3, 4});
  const auto halves = config.get<std::vector<bool>>("spatio_temporal_scaling", {true, true, true, false});
  const auto how = config.get<std::vector<std::string>>("downsample_type", std::vector<std::string>(4, "conv"));
  const auto check_size = [&](const char* field, int64_t found, int64_t least) {
    if (found < least)
      throw failure(config, fmt::format("\"{}\" has {} entries, expected at least {}", field, found, least));
  };
  check_size("down_block_types", std::ssize(types), blocks);
  check_size("layers_per_block", std::ssize(layers), blocks + 1);
  check_size("spatio_temporal_scaling", std::ssize(halves), blocks);
  if (rearranges) check_size("downsample_type", std::ssize(how), blocks);
  for (const auto count : channels)
    if (count < 1 || count > kMostChannels)
      throw failure(config, fmt::format("\"block_out_channels\" has {}, expected 1 to {}", count, kMostChannels));
  for (const auto count : layers)
    if (count < 0 || count > 1000)
      throw failure(config, fmt::format("\"layers_per_block\" has {}, expected 0 to 1000", count));

  static const std::map<std::string, Halving> kinds{{"conv", Halving::convolution},
                                                    {"spatial", Halving::spatial},
                                                    {"temporal", Halving::temporal},
                                                    {"spatiotemporal", Halving::spatiotemporal}};
  VaeEncoderConfig c{
      .vae = decoder, .levels = {}, .mid_layers = layers.back(), .causal = config.get<bool>("encoder_causal", true)};
  int64_t spatial = decoder.patch_size, temporal = 1;
  for (int64_t i = 0; i < blocks; ++i) {
    if ((types[i] == "LTXVideo095DownBlock3D") != rearranges || (!rearranges && types[i] != "LTXVideoDownBlock3D"))
      throw failure(config, fmt::format("\"down_block_types\" has \"{}\", expected LTXVideoDownBlock3D or "
                                        "LTXVideo095DownBlock3D throughout",
                                        types[i]));
    VaeEncoderLevel level{.in = channels[i],
                          .out = channels[std::min(i + 1, std::ssize(channels) - 1)],
                          .layers = layers[i],
                          .halving = halves[i] ? Halving::convolution : Halving::none};
    if (rearranges && halves[i]) {
      const auto kind = kinds.find(how[i]);
      if (kind == kinds.end())
        throw failure(config, fmt::format("\"downsample_type\" has \"{}\", expected conv, spatial, temporal or "
                                          "spatiotemporal",
                                          how[i]));
      level.halving = kind->second;
    }
    const auto positions = level.time_stride() * level.space_stride() * level.space_stride();
    if (level.rearranges() && (level.out % positions != 0 || level.in * positions % level.out != 0))
      throw failure(config, fmt::format("\"block_out_channels\" changes from {} to {}, which \"{}\" cannot give",
                                        level.in, level.out, how[i]));
    if (rearranges && !level.rearranges() && level.in != level.out)
      throw failure(config, fmt::format("\"block_out_channels\" changes from {} to {} where nothing changes them",
                                        level.in, level.out));
    spatial *= level.space_stride();
    temporal *= level.time_stride();
    c.levels.push_back(level);
  }
  if (spatial != decoder.spatial_compression() || temporal != decoder.temporal_compression())
    throw failure(config,
                  fmt::format("the encoder makes one latent of {}x{} pixels and {} frames, the decoder takes it "
                              "for {}x{} and {}",
                              spatial, spatial, temporal, decoder.spatial_compression(), decoder.spatial_compression(),
                              decoder.temporal_compression()));
  return c;
}

bool VaeConfig::injects_noise() const { return std::ranges::any_of(levels, &VaeLevel::inject_noise); }

}  // namespace eav::ltx_video
