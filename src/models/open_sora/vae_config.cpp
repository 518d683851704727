#include "models/open_sora/vae_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "weights/limits.h"

namespace eav::open_sora {
namespace {

constexpr int64_t kMostLevels = 8;

Error failure(const JsonFile& config, const std::string& what) { return Error(config.path().string() + ": " + what); }

// An object within the file, "{}" where there is none.
JsonFile object(const JsonFile& config, const std::string& field) {
  return {config.path(), config.has(field) ? config.json().at(field) : nlohmann::json::object()};
}

void check_type(const JsonFile& config, const std::string& field, const std::vector<std::string>& known) {
  const auto type = object(config, field).get<std::string>("type", known[0]);
  if (std::ranges::find(known, type) == known.end())
    throw failure(config, fmt::format("\"{}\" is of the type \"{}\", supported is \"{}\"", field, type, known[0]));
}

void check_groups(const JsonFile& config, const std::string& field, int64_t channels, int64_t groups) {
  if (channels < 1 || channels % groups != 0)
    throw failure(config,
                  fmt::format("\"{}\" gives {} channels, which {} groups do not divide", field, channels, groups));
}

SpatialVaeConfig read_spatial(const JsonFile& config) {
  check_type(config, "vae_2d", {"VideoAutoencoderKL"});
  const auto fields = object(object(config, "vae_2d"), "config");
  SpatialVaeConfig c{
      .block_out_channels = fields.get<std::vector<int64_t>>("block_out_channels", {128, 256, 512, 512}),
      .layers_per_block = count_layers(fields, "layers_per_block", 2),
      .latent_channels = fields.count("latent_channels", 4),
      .norm_num_groups = fields.count("norm_num_groups", 32),
      .mid_block_add_attention = fields.get<bool>("mid_block_add_attention", true),
  };
  if (c.levels() < 1 || c.levels() > kMostLevels)
    throw failure(config,
                  fmt::format("\"block_out_channels\" has {} entries, expected 1 to {}", c.levels(), kMostLevels));
  for (const auto channels : c.block_out_channels)
    check_groups(config, "block_out_channels", channels, c.norm_num_groups);
  if (const auto act = fields.get<std::string>("act_fn", "silu"); act != "silu" && act != "swish")
    throw failure(config, fmt::format("\"act_fn\" is \"{}\", supported is \"silu\"", act));
  return c;
}

TemporalVaeConfig read_temporal(const JsonFile& config) {
  check_type(config, "vae_temporal", {"VAE_Temporal_SD", "VAE_Temporal"});
  const auto fields = object(config, "vae_temporal");
  const auto whole = fields.get<std::string>("type", "VAE_Temporal_SD") == "VAE_Temporal_SD";
  TemporalVaeConfig c{
      .in_out_channels = fields.count("in_out_channels", 4),
      .embed_dim = fields.count("embed_dim", 4),
      .latent_embed_dim = fields.count("latent_embed_dim", 4),
      .filters = fields.count("filters", 128),
      .num_res_blocks = count_layers(fields, "num_res_blocks", 4),
      .channel_multipliers = fields.get<std::vector<int64_t>>("channel_multipliers", {1, 2, 2, 4}),
      .temporal_downsample = fields.get<std::vector<bool>>(
          "temporal_downsample", whole ? std::vector{false, true, true} : std::vector{true, true, false}),
      .num_groups = fields.count("num_groups", 32),
  };
  if (c.levels() < 1 || c.levels() > kMostLevels ||
      std::ssize(c.temporal_downsample) != static_cast<std::ptrdiff_t>(c.levels() - 1))
    throw failure(config, fmt::format("\"channel_multipliers\" has {} entries and \"temporal_downsample\" {}, expected "
                                      "1 to {}, and one less",
                                      c.levels(), c.temporal_downsample.size(), kMostLevels));
  for (const auto factor : c.channel_multipliers)
    if (factor < 1 || factor > 1'000'000)
      throw failure(config, fmt::format("\"channel_multipliers\" has {}, expected 1 to 1000000", factor));
  for (int64_t level = 0; level < c.levels(); ++level)
    check_groups(config, "channel_multipliers", c.channels(level), c.num_groups);
  if (const auto act = fields.get<std::string>("activation_fn", "swish"); act != "swish")
    throw failure(config, fmt::format("\"activation_fn\" is \"{}\", supported is \"swish\"", act));
  return c;
}

// A number for all channels, or one for each.
std::vector<double> read_numbers(const JsonFile& config, const std::string& field, double fallback, int64_t channels) {
  if (config.has(field) && config.json().at(field).is_number()) return {config.get<double>(field)};
  const auto numbers = config.get<std::vector<double>>(field, {fallback});
  if (numbers.size() != 1 && std::ssize(numbers) != channels)
    throw failure(config, fmt::format("\"{}\" has {} numbers, expected one, or one for each of {} channels", field,
                                      numbers.size(), channels));
  return numbers;
}

}  // namespace

int64_t TemporalVaeConfig::compression() const { return int64_t{1} << std::ranges::count(temporal_downsample, true); }

VaeConfig VaeConfig::read(const JsonFile& config) {
  VaeConfig c{read_spatial(config), read_temporal(config), config.optional<int64_t>("micro_frame_size"), {}, {}};
  if (!config.json().contains("micro_frame_size")) c.micro_frame_size = 17;
  if (c.micro_frame_size && *c.micro_frame_size < 1)
    throw failure(config, fmt::format("\"micro_frame_size\" is {}, expected at least 1", *c.micro_frame_size));
  if (c.spatial.latent_channels != c.temporal.in_out_channels)
    throw failure(config, fmt::format("\"vae_2d\" gives {} latent channels, \"vae_temporal\" takes {}",
                                      c.spatial.latent_channels, c.temporal.in_out_channels));
  c.shift = read_numbers(config, "shift", 0, c.temporal.embed_dim);
  c.scale = read_numbers(config, "scale", 1, c.temporal.embed_dim);
  if (std::ranges::find(c.scale, 0) != c.scale.end()) throw failure(config, "\"scale\" has a 0");
  return c;
}

int64_t VaeConfig::batch_latents(int64_t frames) const {
  return (batch_frames(frames) + temporal.compression() - 1) / temporal.compression();
}

int64_t VaeConfig::latent_frames(int64_t frames) const {
  const auto batch = batch_frames(frames), rest = frames % batch;
  return frames / batch * batch_latents(frames) + (rest + temporal.compression() - 1) / temporal.compression();
}

}  // namespace eav::open_sora
