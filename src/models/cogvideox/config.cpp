#include "models/cogvideox/config.h"

#include <fmt/format.h>

#include "weights/limits.h"

namespace eav::cogvideox {

TransformerConfig TransformerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  TransformerConfig c{
      .num_attention_heads = config.count("num_attention_heads", 30),
      .attention_head_dim = config.count("attention_head_dim", 64),
      .in_channels = config.count("in_channels", 16),
      .num_layers = count_layers(config, "num_layers", 30),
      .time_embed_dim = config.count("time_embed_dim", 512),
      .text_embed_dim = config.count("text_embed_dim", 4096),
      .max_text_seq_length = config.count("max_text_seq_length", 226),
      .sample_width = config.count("sample_width", 90),
      .sample_height = config.count("sample_height", 60),
      .sample_frames = config.count("sample_frames", 49),
      .patch_size = config.count("patch_size", 2),
      .patch_size_t = config.has("patch_size_t") ? std::optional(config.count("patch_size_t")) : std::nullopt,
      .temporal_compression_ratio = config.count("temporal_compression_ratio", 4),
      .flip_sin_to_cos = config.get<bool>("flip_sin_to_cos", true),
      .freq_shift = config.get<double>("freq_shift", 0),
      .norm_eps = config.get<double>("norm_eps", 1e-5),
      .spatial_interpolation_scale = config.get<double>("spatial_interpolation_scale", 1.875),
      .temporal_interpolation_scale = config.get<double>("temporal_interpolation_scale", 1.0),
      .rotary_positions = config.get<bool>("use_rotary_positional_embeddings", false),
      .learned_positions = config.get<bool>("use_learned_positional_embeddings", false),
      .activation = Activation::gelu_tanh,
  };

  const auto activation = config.get<std::string>("activation_fn", "gelu-approximate");
  if (activation != "gelu-approximate" && activation != "gelu")
    throw fail(fmt::format("\"activation_fn\" is \"{}\", supported are \"gelu-approximate\" and \"gelu\"", activation));
  if (activation == "gelu") c.activation = Activation::gelu;
  if (const auto act = config.get<std::string>("timestep_activation_fn", "silu"); act != "silu" && act != "swish")
    throw fail(fmt::format("\"timestep_activation_fn\" is \"{}\", supported is \"silu\"", act));
  if (config.has("ofs_embed_dim"))
    throw fail("\"ofs_embed_dim\" is set: this is an image-to-video checkpoint, which is not supported yet");
  if (config.get<int64_t>("out_channels", c.in_channels) != c.in_channels)
    throw fail(
        "\"out_channels\" differs from \"in_channels\": this is no text-to-video checkpoint, and others are not "
        "supported yet");
  if (c.learned_positions && !c.rotary_positions) throw fail("learned positions without rotary ones are not supported");
  if (!c.rotary_positions && c.channels() % 16 != 0)
    throw fail(fmt::format("{} channels ({} heads of {}) cannot hold sine-cosine positions: a multiple of 16 can",
                           c.channels(), c.num_attention_heads, c.attention_head_dim));
  if (c.rotary_positions && c.attention_head_dim % 16 != 0)
    throw fail(
        fmt::format("\"attention_head_dim\" is {}, a rotary embedding needs a multiple of 16", c.attention_head_dim));
  if (c.patch_size_t && (!c.rotary_positions || c.learned_positions))
    throw fail("\"patch_size_t\" needs a rotary embedding and no learned positions");
  const auto half = c.channels() / 2;
  if (c.freq_shift >= static_cast<double>(half)) throw fail("\"freq_shift\" must be below half of the channels");
  return c;
}

}  // namespace eav::cogvideox
