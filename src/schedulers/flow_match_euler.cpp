#include "schedulers/flow_match_euler.h"

#include <fmt/format.h>

#include <cmath>

namespace eav {

FlowMatchEulerScheduler::FlowMatchEulerScheduler(const JsonFile& config, std::optional<double> shift)
    : shift_(shift ? *shift : config.get<double>("shift", 1)), train_steps_(config.count("num_train_timesteps", 1000)) {
  const auto file = config.path().string();
  if (const auto name = config.get<std::string>("_class_name"); name != "FlowMatchEulerDiscreteScheduler")
    throw Error(fmt::format("{}: the scheduler is {}, expected FlowMatchEulerDiscreteScheduler", file, name));
  for (const auto* setting : {"use_dynamic_shifting", "invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas",
                              "use_beta_sigmas", "stochastic_sampling"})
    if (config.get<bool>(setting, false)) throw Error(fmt::format("{}: \"{}\" is not supported", file, setting));
  if (config.has("shift_terminal")) throw Error(fmt::format("{}: \"shift_terminal\" is not supported", file));
  if (!std::isfinite(shift_) || shift_ <= 0)
    throw Error(fmt::format("{}: the shift is {}, expected a number above 0", file, shift_));
}

void FlowMatchEulerScheduler::set_timesteps(int64_t steps) {
  // Rounded to float32 before the shift, as the reference does it.
  const auto even = at::linspace(1, 0, steps + 1, at::kDouble).slice(0, 0, steps).to(at::kFloat);
  const auto shifted = even * shift_ / (1 + even * (shift_ - 1));
  timesteps_ = shifted * static_cast<double>(train_steps_);
  sigmas_ = at::cat({shifted, at::zeros({1}, shifted.options())});
}

Tensor FlowMatchEulerScheduler::step(const Tensor& model_output, int64_t index, const Tensor& latents) const {
  const auto change = sigmas_[index + 1] - sigmas_[index];
  return latents + change.to(latents.device()) * model_output;
}

}  // namespace eav
