#include "sampling/sample.h"

#include <vector>

namespace eav {
namespace {

// Gives what guidance made the spread that the prompt's prediction has, as far as `amount` says (arXiv 2305.08891,
// section 3.4).
Tensor rescaled(const Tensor& guided, const Tensor& prompt, double amount) {
  const auto spread = guided.is_meta() ? at::empty({}, guided.options()) : prompt.std() / guided.std();
  return amount * (guided * spread) + (1 - amount) * guided;
}

Tensor guided_prediction(Denoiser& denoiser, const Tensor& latents, Step& step) {
  const auto guidance = denoiser.guidance(step);
  if (guidance.branches == Guidance::Branches::one) return denoiser.predict(latents, step);

  std::vector<Tensor> branches;
  if (guidance.branches == Guidance::Branches::pair) {
    branches = denoiser.predict(latents, step).chunk(2);
  } else {
    for (step.branch = 0; step.branch < 2; ++step.branch) branches.push_back(denoiser.predict(latents, step));
    step.branch = 0;
  }
  const auto& prompt = branches[static_cast<size_t>(guidance.prompt_row)];
  const auto& negative = branches[static_cast<size_t>(1 - guidance.prompt_row)];
  const auto guided = negative + guidance.scale * (prompt - negative);
  return guidance.rescale > 0 ? rescaled(guided, prompt, guidance.rescale) : guided;
}

}  // namespace

Tensor sample(Denoiser& denoiser, Scheduler& scheduler, Tensor latents, const SamplingContext& context) {
  const auto count = scheduler.steps(), of_run = context.steps_before + count + context.steps_after;
  Step step{context.grid, context.enhance, context.progress};
  step.count = count;
  for (step.index = 0; step.index < count; ++step.index) {
    context.progress.check();
    context.enhance.begin_step(step.index);
    latents = denoiser.before_step(latents, step);
    const auto predicted = guided_prediction(denoiser, latents, step);
    const auto next = scheduler.step(predicted, step.index, latents, context.generator);
    latents = denoiser.after_step(next, latents, step);
    context.progress.step(context.steps_before + step.index + 1, of_run);
    if (latents.is_meta() && step.index == 1)
      break;  // of a plan: the steps that follow take as much memory as this one
  }
  return latents;
}

}  // namespace eav
