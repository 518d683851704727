// The rectified flow of Open-Sora: Euler steps along straight lines from noise to video, with timesteps that depend on
// the size and length of the video.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>

#include "schedulers/scheduler.h"

namespace eav {

class RectifiedFlowScheduler : public Scheduler {
 public:
  static constexpr double kTrainTimesteps = 1000;

  // For `steps` steps of a video with so many pixels and frames. Throws eav::Error for fewer steps than 1, and for 2 to
  // 16 frames, for which the timesteps are not defined.
  RectifiedFlowScheduler(int64_t steps, int64_t height, int64_t width, int64_t frames);

  const Tensor& timesteps() const override { return timesteps_; }  // from 1000 downwards, float32

  // Latents between those of a video and noise, as they are at step `index`.
  Tensor add_noise(const Tensor& latents, const Tensor& noise, int64_t index) const;
  // Of float32 latents and the velocity there.
  Tensor step(const Tensor& velocity, int64_t index, const Tensor& latents, at::Generator& generator) override;
  Tensor denoised(const Tensor& velocity, int64_t index, const Tensor& latents) const override;

 private:
  Tensor timesteps_;
};

}  // namespace eav
