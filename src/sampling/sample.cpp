#include "sampling/sample.h"

#include <tuple>
#include <utility>
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
  if (step.cache != nullptr) step.cache->begin_step(denoiser.of_model(step), static_cast<int64_t>(guidance.branches));
  const auto predict = [&] {
    const auto compute = [&] { return denoiser.predict(latents, step); };
    return step.cache != nullptr ? step.cache->prediction(latents, step, compute) : compute();
  };
  if (guidance.branches == Guidance::Branches::one) return predict();

  std::vector<Tensor> branches;
  if (guidance.branches == Guidance::Branches::pair) {
    branches = predict().chunk(2);
  } else {
    for (step.branch = 0; step.branch < 2; ++step.branch) branches.push_back(predict());
    step.branch = 0;
  }
  const auto& prompt = branches[static_cast<size_t>(guidance.prompt_row)];
  const auto& negative = branches[static_cast<size_t>(1 - guidance.prompt_row)];
  const auto guided = negative + guidance.scale * (prompt - negative);
  return guidance.rescale > 0 ? rescaled(guided, prompt, guidance.rescale) : guided;
}

// After `steps` steps.
SavedState save(int64_t steps, const Tensor& latents, const Denoiser& denoiser, const Scheduler& scheduler,
                const StepCache* cache, const SamplingContext& context) {
  SavedState state{{{"steps", at::scalar_tensor(steps, at::kLong)},
                    {"latents", latents},
                    {"generator", context.generator.get_state()}}};
  state.add("denoiser.", denoiser.save());
  state.add("scheduler.", scheduler.save());
  state.add("enhancer.", context.enhance.save());
  if (cache != nullptr) state.add("cache.", cache->save());
  return state;
}

// Puts all as it was, but for the latents, which it returns with the number of steps that are done.
std::pair<int64_t, Tensor> load(const SavedState& state, const Tensor& first, Denoiser& denoiser, Scheduler& scheduler,
                                StepCache* cache, const SamplingContext& context) {
  denoiser.load(state.part("denoiser."));
  scheduler.load(state.part("scheduler."), first);
  context.enhance.load(state.part("enhancer."));
  if (cache != nullptr) cache->load(state.part("cache."), first.device());
  context.generator.set_state(state.like("generator", context.generator.get_state()));
  return {state.whole("steps", 0, scheduler.steps()), state.like("latents", first)};
}

}  // namespace

Tensor sample(Denoiser& denoiser, Scheduler& scheduler, Tensor latents, const SamplingContext& context) {
  const auto count = scheduler.steps(), of_run = context.steps_before + count + context.steps_after;
  const auto cache = make_step_cache(context.cache);
  Step step{context.grid, context.enhance, context.progress};
  step.count = count;
  step.cache = cache.get();
  int64_t done = 0;
  if (context.saving.from)
    std::tie(done, latents) = load(*context.saving.from, latents, denoiser, scheduler, step.cache, context);
  for (step.index = done; step.index < count; ++step.index) {
    context.progress.check();
    context.enhance.begin_step(step.index);
    latents = denoiser.before_step(latents, step);
    const auto predicted = guided_prediction(denoiser, latents, step);
    const auto next = scheduler.step(predicted, step.index, latents, context.generator);
    if (context.watch)
      context.watch(
          [&] { return denoiser.after_step(scheduler.denoised(predicted, step.index, latents), latents, step); });
    latents = denoiser.after_step(next, latents, step);
    context.progress.step(context.steps_before + step.index + 1, of_run);
    if (context.saving.keep)
      context.saving.keep(save(step.index + 1, latents, denoiser, scheduler, step.cache, context));
    if (latents.is_meta() && step.index == 1)
      break;  // of a plan: the steps that follow take as much memory as this one
  }
  return latents;
}

}  // namespace eav
