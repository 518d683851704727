#include "sampling/caches/easy.h"

#include <fmt/format.h>

namespace eav {

bool EasyCache::decide(const Tensor& latents, const Step& step) {
  if (latents.is_meta()) return false;
  bool reuses = false;
  auto& change = number("change");  // that is expected since the last computed step
  if (step.index < first_steps_ || step.index + 1 >= step.count) {
    change = 0;
  } else if (has("k")) {
    change += number("k") * mean_change(latents, tensor("latents")) / tensor("output").abs().mean().item<double>();
    reuses = change < threshold_;
    if (!reuses) change = 0;
  }
  tensor("latents") = latents.clone();
  return reuses;
}

Tensor EasyCache::prediction(const Tensor& latents, Step& step, const std::function<Tensor()>& compute) {
  if (step.branch == 0) reuses_ = decide(latents, step);
  const auto difference = fmt::format("difference {}", step.branch);
  if (reuses_) {
    step.enhance.reuse(step.branch, 0);
    return latents + tensor(difference);
  }
  const auto output = compute();  // of a pair, both rows
  tensor(difference) = output - latents;
  if (step.branch > 0) return output;
  if (has("output") && !output.is_meta())
    number("k") = mean_change(output, tensor("output")) / mean_change(latents, tensor("computed latents"));
  tensor("output") = output;
  tensor("computed latents") = latents.clone();
  return output;
}

}  // namespace eav
