// What every scheduler offers to the sampling loop: the steps of one video, from noise to latents.
#pragma once
#include <ATen/ATen.h>

#include "eav/saved_state.h"

namespace eav {
using at::Tensor;

class Scheduler {
 public:
  virtual ~Scheduler() = default;

  // What the model is told at each step, [steps] on the CPU.
  virtual const Tensor& timesteps() const = 0;
  int64_t steps() const { return timesteps().size(0); }

  // The latents of the next step, from those of step `index` and the model's prediction for them. Steps come in their
  // order, each once. Noise, where a scheduler adds any, is drawn from `generator`, shaped as the latents.
  virtual Tensor step(const Tensor& predicted, int64_t index, const Tensor& latents, at::Generator& generator) = 0;

  // The clean latents that a step predicts.
  virtual Tensor denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const = 0;

  // What it remembers of earlier steps.
  virtual SavedState save() const { return {}; }
  virtual void load(const SavedState& /*state*/, const Tensor& /*latents*/) {}
};

}  // namespace eav
