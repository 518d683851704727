// The rectified flow of Open-Sora: Euler steps along straight lines from noise to video, with timesteps that depend on
// the size and length of the video.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>

namespace eav {
using at::Tensor;

class RectifiedFlowScheduler {
 public:
  static constexpr double kTrainTimesteps = 1000;

  // For `steps` steps of a video with so many pixels and frames. Throws eav::Error for fewer steps than 1, and for 2 to
  // 16 frames, for which the timesteps are not defined.
  RectifiedFlowScheduler(int64_t steps, int64_t height, int64_t width, int64_t frames);

  // What the model is told, from 1000 downwards: [steps] float32.
  const Tensor& timesteps() const { return timesteps_; }

  // Latents between those of a video and noise, as they are at step `index`.
  Tensor add_noise(const Tensor& latents, const Tensor& noise, int64_t index) const;
  // The latents of the next step from those of step `index`, and the velocity there; both float32.
  Tensor step(const Tensor& velocity, int64_t index, const Tensor& latents) const;

 private:
  Tensor timesteps_;
};

}  // namespace eav
