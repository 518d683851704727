// TaylorSeer (arXiv 2503.06923) as diffusers' taylorseer_cache.py has it in its lite mode: predictions go on in a
// straight line.
#pragma once
#include "sampling/step_cache.h"

namespace eav {

// Between computed steps, the prediction is the last computed one and so many times the step that it had made. The
// first three steps are computed, and then one in `interval`.
class TaylorSeer final : public StepCache {
 public:
  explicit TaylorSeer(int64_t interval) : interval_(interval) {}
  Tensor prediction(const Tensor& latents, Step& step, const std::function<Tensor()>& compute) override;

 private:
  int64_t interval_;
};

}  // namespace eav
