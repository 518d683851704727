// Flow matching with Euler steps (diffusers' FlowMatchEulerDiscreteScheduler).
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "weights/config.h"

namespace eav {
using at::Tensor;

class FlowMatchEulerScheduler {
 public:
  // Reads scheduler_config.json; `shift`, where given, replaces the file's. Throws eav::Error for another class, and
  // for settings that are not supported.
  FlowMatchEulerScheduler(const JsonFile& config, std::optional<double> shift);

  // Chooses `steps` noise levels, evenly from 1 to 1/steps and then shifted towards 1.
  void set_timesteps(int64_t steps);
  // What the model is told: noise levels times the number of steps trained with, [steps] float32.
  const Tensor& timesteps() const { return timesteps_; }

  // The latents of the next step from those of step `index`, and the model's output for them; both float32.
  Tensor step(const Tensor& model_output, int64_t index, const Tensor& latents) const;

  double shift() const { return shift_; }

 private:
  double shift_;
  int64_t train_steps_;
  Tensor sigmas_;     // [steps + 1] float32, the last one 0
  Tensor timesteps_;  // [steps]
};

}  // namespace eav
