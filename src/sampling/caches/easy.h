// EasyCache (arXiv 2507.02860; github.com/H-EmbodVis/EasyCache): how far the prediction would move is told by how far
// the latents moved.
#pragma once
#include "sampling/step_cache.h"

namespace eav {

// What a step's prediction would change by is k |change of the latents| / |last computed prediction|, all of them means
// of absolute values; k is how much predictions changed for a change of the latents, at the last two computed steps.
// Steps are left out while the sum of these stays below the threshold; the prediction is then the latents and what the
// last computed one had beside them. The first steps and the last are always computed.
class EasyCache final : public StepCache {
 public:
  EasyCache(double threshold, int64_t first_steps) : threshold_(threshold), first_steps_(first_steps) {}
  Tensor prediction(const Tensor& latents, Step& step, const std::function<Tensor()>& compute) override;

 private:
  bool decide(const Tensor& latents, const Step& step);  // whether the step is left out

  double threshold_;
  int64_t first_steps_;
  bool reuses_ = false;  // at this step
};

}  // namespace eav
