// UniPC (Zhao et al., arXiv 2302.04867) on the noise levels of flow matching: a multistep predictor whose every step is
// corrected by the prediction at its end (diffusers' UniPCMultistepScheduler with "use_flow_sigmas").
#pragma once
#include <ATen/ATen.h>

#include <deque>
#include <optional>

#include "schedulers/scheduler.h"
#include "weights/config.h"

namespace eav {

class UniPcScheduler : public Scheduler {
 public:
  // Reads scheduler_config.json and chooses noise levels for `steps` steps; `shift`, where given, replaces the file's
  // "flow_shift". Throws eav::Error for another class, and for settings that are not supported or give no numbers.
  UniPcScheduler(const JsonFile& config, std::optional<double> shift, int64_t steps);

  // Leaves the first `count` steps out, fewer than there are.
  void skip(int64_t count);

  const Tensor& timesteps() const override { return timesteps_; }  // noise levels times the steps trained with, int64
  const Tensor& sigmas() const { return sigmas_; }                 // and the last one [steps + 1] float32
  double shift() const { return shift_; }

  // Of float32 latents and the velocity there.
  Tensor step(const Tensor& velocity, int64_t index, const Tensor& latents, at::Generator& generator) override;
  Tensor denoised(const Tensor& velocity, int64_t index, const Tensor& latents) const override;

  SavedState save() const override;
  void load(const SavedState& state, const Tensor& latents) override;

 private:
  struct Update;
  // The order of the step `index`: low where little is known yet, and at the end.
  int64_t order(int64_t index) const;
  // From the latents at noise level `from` to the next one, of this order.
  Update update(int64_t from, int64_t order) const;

  double shift_;
  int64_t solver_order_;
  bool lower_order_final_, bh2_;
  Tensor timesteps_;             // [steps] int64
  Tensor sigmas_;                // [steps + 1] float32
  std::deque<Tensor> denoised_;  // of the last steps, the latest in front; at most solver_order_
  Tensor last_;                  // latents that the last step began with, corrected
};

}  // namespace eav
