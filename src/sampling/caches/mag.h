// MagCache (arXiv 2506.09045; diffusers' mag_cache.py): how the size of what the blocks add changes from step to step
// is nearly the same for all videos of a model, so that it is measured once.
#pragma once
#include "sampling/step_cache.h"

namespace eav {

// Where the product of the ratios since the last computed step stays close to 1, summed over the steps that are left
// out, these add what the last computed one added. At most three steps in a row, and none of the first fifth of a
// model's.
class MagCache final : public StepCache {
 public:
  explicit MagCache(const CacheOptions& options) : options_(options) {}
  void blocks(const Tensor& tokens, Step& step, const Work& first, const Work& rest) override;

 private:
  bool decide(const Step& step);  // whether the step is left out

  CacheOptions options_;
  bool reuses_ = false;  // at this step
};

// As many ratios as there are steps: each takes the nearest.
std::vector<double> ratios_of_steps(const std::vector<double>& ratios, int64_t steps);

}  // namespace eav
