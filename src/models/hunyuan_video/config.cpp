#include "models/hunyuan_video/config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "weights/limits.h"

namespace eav::hunyuan_video {
namespace {

ImageCondition read_image_condition(const JsonFile& config) {
  const auto type = config.get<std::string>("image_condition_type", "");
  if (!config.has("image_condition_type")) return ImageCondition::none;
  if (type == "latent_concat") return ImageCondition::latent_concat;
  if (type == "token_replace") return ImageCondition::token_replace;
  throw Error(fmt::format("{}: \"image_condition_type\" is \"{}\"; supported are latent_concat and token_replace",
                          config.path().string(), type));
}

}  // namespace

TransformerConfig TransformerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  TransformerConfig c{
      .num_attention_heads = config.count("num_attention_heads", 24),
      .attention_head_dim = config.count("attention_head_dim", 128),
      .in_channels = config.count("in_channels", 16),
      .out_channels = 0,
      .image_condition = read_image_condition(config),
      .num_layers = count_layers(config, "num_layers", 20),
      .num_single_layers = count_layers(config, "num_single_layers", 40),
      .num_refiner_layers = count_layers(config, "num_refiner_layers", 2),
      .mlp_channels = 0,
      .patch_size = config.count("patch_size", 2),
      .patch_size_t = config.count("patch_size_t", 1),
      .guidance_embeds = config.get<bool>("guidance_embeds", true),
      .text_embed_dim = config.count("text_embed_dim", 4096),
      .pooled_projection_dim = config.count("pooled_projection_dim", 768),
      .rope_theta = config.get<double>("rope_theta", 256),
      .rope_axes_dim = config.get<std::vector<int64_t>>("rope_axes_dim", {16, 56, 56}),
  };
  const auto ratio = config.get<double>("mlp_ratio", 4);
  const auto mlp_channels = static_cast<double>(c.channels()) * ratio;
  if (mlp_channels < 1) throw fail(fmt::format("\"mlp_ratio\" is {}, expected a number above 0", ratio));
  if (!(mlp_channels <= 1e9)) throw fail(fmt::format("\"mlp_ratio\" is {}, which is too large", ratio));
  c.mlp_channels = static_cast<int64_t>(mlp_channels);
  if (const auto norm = config.get<std::string>("qk_norm", "rms_norm"); norm != "rms_norm")
    throw fail(fmt::format("\"qk_norm\" is \"{}\", supported is \"rms_norm\"", norm));
  c.out_channels = config.count("out_channels", 16);
  if (const auto expected =
          c.image_condition == ImageCondition::latent_concat ? 2 * c.out_channels + 1 : c.out_channels;
      c.in_channels != expected)
    throw fail(fmt::format("\"in_channels\" is {}, expected {} beside {} \"out_channels\"", c.in_channels, expected,
                           c.out_channels));
  const auto& axes = c.rope_axes_dim;
  if (axes.size() != 3 ||
      std::ranges::any_of(axes, [&](int64_t dim) { return dim < 2 || dim > c.attention_head_dim || dim % 2 != 0; }) ||
      std::accumulate(axes.begin(), axes.end(), int64_t{0}) != c.attention_head_dim)
    throw fail(fmt::format("\"rope_axes_dim\" is [{}], expected three even numbers whose sum is the head size {}",
                           fmt::join(axes, ", "), c.attention_head_dim));
  return c;
}

}  // namespace eav::hunyuan_video
