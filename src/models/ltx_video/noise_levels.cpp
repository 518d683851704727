#include "models/ltx_video/noise_levels.h"

namespace eav::ltx_video {

Tensor linear_quadratic_sigmas(int64_t steps) {
  constexpr double kThreshold = 0.025;  // of noise that the linear half takes away
  const auto sigmas = at::ones({steps}, at::kDouble);
  if (steps < 2) return sigmas;
  const int64_t half = steps / 2;
  const auto linear = static_cast<double>(half), quadratic = static_cast<double>(steps - half);
  const double difference = linear - kThreshold * static_cast<double>(steps);
  const double a = difference / (linear * quadratic * quadratic);
  const double b = kThreshold / linear - 2 * difference / (quadratic * quadratic);
  const double c = a * linear * linear;
  for (int64_t i = 1; i < steps; ++i) {
    const auto x = static_cast<double>(i);
    sigmas[i] = 1 - (x < linear ? x * kThreshold / linear : a * x * x + b * x + c);
  }
  return sigmas;
}

}  // namespace eav::ltx_video
