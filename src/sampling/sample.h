// The sampling loop, from noise to latents: written once for all families.
#pragma once
#include <ATen/ATen.h>

#include "eav/saved_state.h"
#include "enhance/enhancer.h"
#include "enhance/step.h"
#include "sampling/step_cache.h"
#include "sampling/watch.h"
#include "schedulers/scheduler.h"

namespace eav {

// Classifier-free guidance at one step: of the predictions for the prompt and for the negative (or empty) prompt,
// negative + scale * (prompt - negative).
struct Guidance {
  enum class Branches {
    one,    // no guidance: the prompt alone
    pair,   // both in one forward pass, as a batch of two
    apart,  // a forward pass each: step.branch tells which
  };
  Branches branches = Branches::one;
  double scale = 1;
  double rescale = 0;      // 0 to 1: how far the result keeps the spread of the prompt's prediction (arXiv 2305.08891)
  int64_t prompt_row = 0;  // of the pair, or the branch that runs first: 0 or 1
};

// What a family gives to the loop, for one video or clip.
class Denoiser {
 public:
  virtual ~Denoiser() = default;

  virtual Guidance guidance(const Step& step) const = 0;
  // The model's prediction for latents, of one branch or of a pair.
  virtual Tensor predict(const Tensor& latents, Step& step) = 0;
  // The steps that the same model runs as this one.
  virtual ModelSteps of_model(const Step& step) const { return {0, step.count}; }

  // Where latents change beside the schedule: the input of a step, and what becomes of its result `next`.
  virtual Tensor before_step(const Tensor& latents, const Step& /*step*/) { return latents; }
  virtual Tensor after_step(const Tensor& next, const Tensor& /*input*/, const Step& /*step*/) const { return next; }

  // What it remembers of earlier steps.
  virtual SavedState save() const { return {}; }
  virtual void load(const SavedState& /*state*/) {}
};

// What the loop works with beside it.
struct SamplingContext {
  Enhancer& enhance;
  Grid grid;
  at::Generator& generator;  // of noise that schedulers add
  Progress& progress;
  Saving saving = {};
  Watch watch = {};
  CacheOptions cache = {};
  int64_t steps_before = 0;  // and after: of a run of several clips, whose progress is one
  int64_t steps_after = 0;
};

// The latents after all steps of the scheduler. Throws Cancelled when progress asks to stop.
Tensor sample(Denoiser& denoiser, Scheduler& scheduler, Tensor latents, const SamplingContext& context);

}  // namespace eav
