#include "schedulers/rectified_flow.h"

#include <fmt/format.h>

#include "eav/error.h"

namespace eav {
namespace {

constexpr double kBasePixels = 512 * 512;                // of a picture whose timesteps stay as they are
constexpr int64_t kMicroFrames = 17, kMicroLatents = 5;  // frames that are encoded together, and what becomes of them

}  // namespace

RectifiedFlowScheduler::RectifiedFlowScheduler(int64_t steps, int64_t height, int64_t width, int64_t frames) {
  if (steps < 1) throw Error("steps", fmt::format("{} steps: expected at least 1", steps));
  if (frames < 1 || (frames > 1 && frames < kMicroFrames))
    throw Error("frames", fmt::format("{} frames: expected 1, or at least {}", frames, kMicroFrames));
  const auto even = (1 - at::arange(steps, at::kDouble) / static_cast<double>(steps)).to(at::kFloat);
  const auto root = [](double x) { return at::full({}, x, at::kFloat).sqrt(); };
  const auto latents = frames == 1 ? 1 : frames / kMicroFrames * kMicroLatents;
  const auto ratio = root(static_cast<double>(height * width) / kBasePixels) * root(static_cast<double>(latents));
  timesteps_ = ratio * even / (1 + (ratio - 1) * even) * kTrainTimesteps;
}

Tensor RectifiedFlowScheduler::add_noise(const Tensor& latents, const Tensor& noise, int64_t index) const {
  const auto part = 1 - timesteps_[index] / kTrainTimesteps;
  return part * latents + (1 - part) * noise;
}

Tensor RectifiedFlowScheduler::step(const Tensor& velocity, int64_t index, const Tensor& latents,
                                    at::Generator& /*generator*/) {
  auto length = timesteps_[index];
  if (index + 1 < timesteps_.size(0)) length = length - timesteps_[index + 1];
  return latents + velocity * (length / kTrainTimesteps);
}

Tensor RectifiedFlowScheduler::denoised(const Tensor& velocity, int64_t index, const Tensor& latents) const {
  return latents + velocity * (timesteps_[index] / kTrainTimesteps);
}

}  // namespace eav
