#include "models/open_sora/config.h"

#include <fmt/format.h>

#include <cmath>
#include <vector>

#include "weights/limits.h"

namespace eav::open_sora {

TransformerConfig TransformerConfig::read(const JsonFile& config) {
  const auto fail = [&](const std::string& what) { return Error(config.path().string() + ": " + what); };
  if (const auto type = config.get<std::string>("model_type", "STDiT3"); type != "STDiT3")
    throw fail(fmt::format("\"model_type\" is \"{}\", expected \"STDiT3\"", type));
  const auto patch = config.get<std::vector<int64_t>>("patch_size", {1, 2, 2});
  if (patch.size() != 3 || patch[0] != 1 || patch[1] != patch[2] || patch[1] < 1)
    throw fail("\"patch_size\" is not supported: expected 1 in time, and a square in space");
  if (config.get<bool>("skip_y_embedder", false)) throw fail("\"skip_y_embedder\" is not supported");

  const auto hidden_size = config.count("hidden_size", 1152), in_channels = config.count("in_channels", 4);
  const auto mlp_ratio = config.get<double>("mlp_ratio", 4),
             mlp_channels = static_cast<double>(hidden_size) * mlp_ratio;
  if (mlp_channels < 1) throw fail(fmt::format("\"mlp_ratio\" is {}, expected a number above 0", mlp_ratio));
  if (!(mlp_channels <= 1e9)) throw fail(fmt::format("\"mlp_ratio\" is {}, which is too large", mlp_ratio));
  TransformerConfig c{
      .hidden_size = hidden_size,
      .depth = count_layers(config, "depth", 28),
      .num_heads = config.count("num_heads", 16),
      .mlp_channels = static_cast<int64_t>(mlp_channels),
      .in_channels = in_channels,
      .out_channels = config.get<bool>("pred_sigma", true) ? 2 * in_channels : in_channels,
      .caption_channels = config.count("caption_channels", 4096),
      .model_max_length = config.count("model_max_length", 300),
      .patch_size = patch[1],
      .input_sq_size = config.get<double>("input_sq_size", 512),
      .qk_norm = config.get<bool>("qk_norm", true),
  };
  if (!std::isfinite(c.input_sq_size) || c.input_sq_size <= 0)
    throw fail(fmt::format("\"input_sq_size\" is {}, expected a number above 0", c.input_sq_size));
  if (hidden_size % 4 != 0)
    throw fail(fmt::format("\"hidden_size\" is {}, expected a multiple of 4: rows and columns, sines and cosines",
                           hidden_size));
  if (hidden_size % (2 * c.num_heads) != 0)
    throw fail(fmt::format("\"hidden_size\" is {}, expected an even number of channels for each of {} heads",
                           hidden_size, c.num_heads));
  return c;
}

}  // namespace eav::open_sora
