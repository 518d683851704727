// First-block cache (diffusers' first_block_cache.py, after ParaAttention's): the first block is always computed, and
// tells by what it adds whether the others would give something new.
#pragma once
#include "sampling/step_cache.h"

namespace eav {

// The other blocks are left out where what the first adds to the video's tokens differs from what it added at the last
// computed step by at most the threshold: mean |difference| / mean |then|. What they added then is added again.
class FirstBlockCache final : public StepCache {
 public:
  explicit FirstBlockCache(double threshold) : threshold_(threshold) {}
  void blocks(const Tensor& tokens, Step& step, const Work& first, const Work& rest) override;

 private:
  double threshold_;
  bool reuses_ = false;  // at this step
};

}  // namespace eav
