#include "sampling/caches/taylor.h"

#include <fmt/format.h>

namespace eav {
namespace {

constexpr int64_t kFirstSteps = 3;

}  // namespace

Tensor TaylorSeer::prediction(const Tensor& latents, Step& step, const std::function<Tensor()>& compute) {
  const auto at = index(step);
  const auto output = fmt::format("output {}", step.branch), slope = fmt::format("slope {}", step.branch),
             computed = fmt::format("step {}", step.branch);
  const bool computes = at < kFirstSteps || (at - kFirstSteps - 1 + interval_) % interval_ == 0;
  if (!computes && !latents.is_meta()) {
    step.enhance.reuse(step.branch, 0);
    return tensor(output) + tensor(slope) * (static_cast<double>(at) - number(computed));
  }
  const auto now = compute();
  if (has(output)) tensor(slope) = (now - tensor(output)) / (static_cast<double>(at) - number(computed));
  tensor(output) = now;
  number(computed) = static_cast<double>(at);
  return now;
}

}  // namespace eav
