#include "models/wan/vae_config.h"

#include <fmt/format.h>

#include <algorithm>

#include "weights/limits.h"

namespace eav::wan {
namespace {

const std::vector<double> kMean{-0.7571, -0.7089, -0.9113, 0.1075,  -0.1745, 0.9653,  -0.1517, 1.5508,
                                0.4134,  -0.0715, 0.5517,  -0.3632, -0.1922, -0.9497, 0.2503,  -0.2921};
const std::vector<double> kStd{2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
                               3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160};

}  // namespace

VaeConfig VaeConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  constexpr int64_t kMostChannels = 1'000'000;
  const auto base_dim = count_up_to(kMostChannels, config, "base_dim", 96);
  VaeConfig c{
      .base_dim = base_dim,
      .decoder_base_dim = count_up_to(kMostChannels, config, "decoder_base_dim", base_dim),
      .dim_mult = config.get<std::vector<int64_t>>("dim_mult", {1, 2, 4, 4}),
      .z_dim = count_up_to(kMostChannels, config, "z_dim", 16),
      .num_res_blocks = count_layers(config, "num_res_blocks", 2),
      .temperal_downsample = config.get<std::vector<bool>>("temperal_downsample", {false, true, true}),
      .is_residual = config.get<bool>("is_residual", false),
      .patch_size = count_up_to(16, config, "patch_size", 1),
      .latents_mean = config.get<std::vector<double>>("latents_mean", kMean),
      .latents_std = config.get<std::vector<double>>("latents_std", kStd),
  };

  if (c.levels() < 2 || c.levels() > 8)
    throw fail(fmt::format("\"dim_mult\" has {} entries, expected 2 to 8", c.levels()));
  for (const auto factor : c.dim_mult)
    if (factor < 1 || factor > 1000) throw fail(fmt::format("\"dim_mult\" has {}, expected 1 to 1000", factor));
  if (std::ssize(c.temperal_downsample) != c.levels() - 1)
    throw fail(fmt::format("\"temperal_downsample\" has {} entries, expected {}: one between two levels",
                           c.temperal_downsample.size(), c.levels() - 1));
  if (std::ranges::count(c.temperal_downsample, true) != 2)
    throw fail(fmt::format("\"temperal_downsample\" halves the frames {} times, supported is twice",
                           std::ranges::count(c.temperal_downsample, true)));
  const auto check_field = [&](const std::string& field, int64_t is, int64_t supported) {
    if (is != supported) throw fail(fmt::format("\"{}\" is {}, expected {}", field, is, supported));
  };
  check_field("scale_factor_spatial", config.count("scale_factor_spatial", 8), c.spatial_compression());
  check_field("scale_factor_temporal", config.count("scale_factor_temporal", 4), kTemporalCompression);
  for (const auto* field : {"in_channels", "out_channels"})
    check_field(field, config.count(field, kColours), c.patch_channels());
  if (!config.get<std::vector<double>>("attn_scales", {}).empty())
    throw fail("\"attn_scales\" asks for attention between the levels, which is not supported");
  for (const auto* field : {"latents_mean", "latents_std"}) {
    const auto& values = field == std::string("latents_mean") ? c.latents_mean : c.latents_std;
    if (std::ssize(values) != c.z_dim)
      throw fail(fmt::format("\"{}\" has {} numbers, expected {}: one for each channel of the latents", field,
                             values.size(), c.z_dim));
  }
  if (std::ranges::count(c.latents_std, 0.0) > 0) throw fail("\"latents_std\" has a 0");
  if (!c.is_residual) return c;
  // The encoder's shortcuts average channels, and the decoder's repeat them, where as many positions become one.
  const auto check_shortcut = [&](int64_t before, int64_t after, int64_t positions) {
    if (before * positions % after != 0)
      throw fail(fmt::format("\"dim_mult\" has {} beside {}, between which no shortcut leads", before, after));
  };
  for (int64_t level = 0; level < c.levels(); ++level) {
    const bool last = level + 1 == c.levels();
    const auto positions = last ? 1 : c.temperal_downsample[level] ? 8 : 4;
    check_shortcut(level == 0 ? 1 : c.dim_mult[level - 1], c.dim_mult[level], positions);
    if (!last) check_shortcut(c.dim_mult[level + 1], c.dim_mult[std::min(level + 2, c.levels() - 1)], positions);
  }
  return c;
}

}  // namespace eav::wan
