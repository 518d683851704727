#include "schedulers/flow_match_euler.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <vector>

#include "weights/limits.h"

namespace eav {

FlowMatchEulerScheduler::FlowMatchEulerScheduler(const JsonFile& config, std::optional<double> shift)
    : name_(config.path().string()),
      shift_(shift ? *shift : config.get<double>("shift", 1)),
      train_steps_(count_up_to(1'000'000, config, "num_train_timesteps", 1000)) {
  if (const auto name = config.get<std::string>("_class_name"); name != "FlowMatchEulerDiscreteScheduler")
    throw Error(fmt::format("{}: the scheduler is {}, expected FlowMatchEulerDiscreteScheduler", name_, name));
  for (const auto* setting :
       {"invert_sigmas", "use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "stochastic_sampling"})
    if (config.get<bool>(setting, false)) throw Error(fmt::format("{}: \"{}\" is not supported", name_, setting));
  if (!std::isfinite(shift_) || shift_ <= 0)
    throw Error(fmt::format("{}: the shift is {}, expected a number above 0", name_, shift_));

  shift_terminal_ = config.optional<double>("shift_terminal");
  if (shift_terminal_ == 0) shift_terminal_.reset();  // as good as none, there
  if (shift_terminal_ && !(*shift_terminal_ > 0 && *shift_terminal_ < 1))
    throw Error(
        fmt::format("{}: \"shift_terminal\" is {}, expected a number between 0 and 1", name_, *shift_terminal_));
  if (!config.get<bool>("use_dynamic_shifting", false)) return;
  const auto type = config.get<std::string>("time_shift_type", "exponential");
  if (type != "exponential" && type != "linear")
    throw Error(fmt::format("{}: \"time_shift_type\" is \"{}\", supported are exponential and linear", name_, type));
  dynamic_ = DynamicShift{config.get<double>("base_shift", 0.5), config.get<double>("max_shift", 1.15),
                          config.count("base_image_seq_len", 256), config.count("max_image_seq_len", 4096),
                          type == "exponential"};
  if (dynamic_->base_image_seq_len == dynamic_->max_image_seq_len)
    throw Error(fmt::format("{}: \"base_image_seq_len\" and \"max_image_seq_len\" are equal", name_));
}

double FlowMatchEulerScheduler::DynamicShift::shift(int64_t tokens) const {
  const double m = (max_shift - base_shift) / static_cast<double>(max_image_seq_len - base_image_seq_len);
  const double b = base_shift - m * static_cast<double>(base_image_seq_len);
  const double mu = static_cast<double>(tokens) * m + b;
  return exponential ? std::exp(mu) : mu;
}

void FlowMatchEulerScheduler::set_sigmas(const Tensor& sigmas, std::optional<int64_t> tokens) {
  // Rounded to float32 before the shift, as the reference does it.
  auto shifted = sigmas.to(at::kFloat);
  if (!dynamic_) {
    shifted = shifted * shift_ / (1 + shifted * (shift_ - 1));
  } else {
    if (!tokens) throw Error(fmt::format("{}: \"use_dynamic_shifting\" does not serve this model", name_));
    const double shift = dynamic_->shift(*tokens);
    if (!(shift < std::numeric_limits<float>::max()))
      throw Error("frames",
                  fmt::format("{} tokens are too many for this checkpoint's flow shift, which grows with them: "
                              "make a shorter or smaller video",
                              *tokens));
    shifted = shift / (shift + (1 / shifted - 1));
  }
  if (shift_terminal_) {
    if (sigmas.size(0) < 2)
      throw Error(fmt::format("{}: \"shift_terminal\" stretches noise levels: 1 step is too few", name_));
    const auto rest = 1 - shifted;
    shifted = 1 - rest / (rest[-1] / (1 - *shift_terminal_));
  }
  timesteps_ = shifted * static_cast<double>(train_steps_);
  sigmas_ = at::cat({shifted, at::zeros({1}, shifted.options())});
}

void FlowMatchEulerScheduler::set_timesteps(const Tensor& timesteps) {
  const auto given = timesteps.to(at::kFloat);
  set_sigmas(given / static_cast<double>(train_steps_));
  timesteps_ = given;
}

void FlowMatchEulerScheduler::set_steps(int64_t steps) {
  const auto shifted = [&](float level) {  // in float32, as the reference makes its schedule
    return static_cast<double>(static_cast<float>(shift_) * level / (1 + static_cast<float>(shift_ - 1) * level));
  };
  const auto highest = shifted(1), lowest = shifted(1 / static_cast<float>(train_steps_));
  std::vector<double> sigmas;
  for (int64_t i = 0; i < steps; ++i) {
    const auto part = steps > 1 ? static_cast<double>(i) / static_cast<double>(steps - 1) : 0;
    sigmas.push_back(highest + part * (lowest - highest));
  }
  set_sigmas(at::tensor(sigmas, at::kDouble));
}

void FlowMatchEulerScheduler::skip(int64_t count) {
  timesteps_ = timesteps_.slice(0, count);
  sigmas_ = sigmas_.slice(0, count);
}

Tensor FlowMatchEulerScheduler::step(const Tensor& predicted, int64_t index, const Tensor& latents,
                                     at::Generator& /*generator*/) {
  const auto change = sigmas_[index + 1] - sigmas_[index];
  return latents + change * predicted;
}

Tensor FlowMatchEulerScheduler::denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const {
  return latents - sigmas_[index] * predicted;
}

Tensor FlowMatchEulerScheduler::change_from(const Tensor& timesteps) const {
  const auto current = timesteps / static_cast<double>(train_steps_);  // [n]
  const auto sigmas = sigmas_.unsqueeze(1);                            // [steps + 1, 1]
  const auto next = std::get<0>(((sigmas < current - 1e-6) * sigmas).max(0));
  return next - current;
}

}  // namespace eav
