#include "nn/embeddings.h"

#include <cmath>

namespace eav {

Tensor sincos_positions_1d(int64_t channels, const Tensor& positions) {
  const auto exponent =
      at::arange(channels / 2, positions.options().dtype(at::kDouble)) / (static_cast<double>(channels) / 2.0);
  const auto angles = at::outer(positions.to(at::kDouble), 1.0 / at::pow(10000, exponent));
  return at::cat({angles.sin(), angles.cos()}, 1);
}

Tensor timestep_sinusoids(const Tensor& timesteps, int64_t channels, bool flip_sin_to_cos, double freq_shift) {
  const int64_t half = channels / 2;
  auto exponent = at::arange(half, timesteps.options().dtype(at::kFloat)) * -std::log(10000.0);
  exponent = exponent / (static_cast<double>(half) - freq_shift);
  const auto angles = timesteps.to(at::kFloat).unsqueeze(1) * exponent.exp().unsqueeze(0);  // [n, half]
  auto sinusoids =
      flip_sin_to_cos ? at::cat({angles.cos(), angles.sin()}, -1) : at::cat({angles.sin(), angles.cos()}, -1);
  return channels % 2 == 1 ? at::constant_pad_nd(sinusoids, {0, 1}) : sinusoids;
}

Tensor sincos_positions_3d(int64_t channels, int64_t frames, int64_t height, int64_t width, double spatial_scale,
                           double temporal_scale, at::Device device) {
  const auto options = at::TensorOptions(at::kFloat).device(device);
  const int64_t spatial = 3 * channels / 4;
  const auto rows = at::arange(height, options) / spatial_scale, columns = at::arange(width, options) / spatial_scale;
  const auto column_of = columns.unsqueeze(0).expand({height, width}).flatten();
  const auto row_of = rows.unsqueeze(1).expand({height, width}).flatten();
  const auto in_frame =
      at::cat({sincos_positions_1d(spatial / 2, column_of), sincos_positions_1d(spatial / 2, row_of)}, 1);
  const auto in_time = sincos_positions_1d(channels / 4, at::arange(frames, options) / temporal_scale);
  return at::cat({in_time.unsqueeze(1).expand({frames, height * width, -1}),
                  in_frame.unsqueeze(0).expand({frames, -1, -1})},
                 -1)
      .flatten(0, 1);
}

}  // namespace eav
