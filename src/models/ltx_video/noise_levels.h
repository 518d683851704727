// Noise levels of LTX-Video's schedules, before a checkpoint's scheduler shifts them.
#pragma once
#include <ATen/ATen.h>

namespace eav::ltx_video {
using at::Tensor;

inline constexpr double kTrainSteps = 1000;  // timesteps are parts of these

// Those of LTXConditionPipeline [steps] float64: the first half of the steps takes little away, the second more and
// more.
Tensor linear_quadratic_sigmas(int64_t steps);

}  // namespace eav::ltx_video
