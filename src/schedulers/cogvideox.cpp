#include "schedulers/cogvideox.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>
#include <vector>

#include "nn/planned.h"
#include "weights/limits.h"

namespace eav {
namespace {

Tensor betas(const JsonFile& config, int64_t train_steps) {
  const auto start = config.get<double>("beta_start", 0.00085), end = config.get<double>("beta_end", 0.012);
  const auto schedule = config.get<std::string>("beta_schedule", "scaled_linear");
  if (config.has("trained_betas")) {
    auto trained = at::tensor(config.get<std::vector<double>>("trained_betas"), at::kFloat);
    if (trained.numel() != train_steps)
      throw Error(fmt::format("{}: \"trained_betas\" has {} entries, \"num_train_timesteps\" is {}",
                              config.path().string(), trained.numel(), train_steps));
    return trained;
  }
  if (schedule == "linear") return at::linspace(start, end, train_steps, at::kFloat);
  if (schedule == "scaled_linear")
    return at::linspace(std::sqrt(start), std::sqrt(end), train_steps, at::kDouble).square();
  if (schedule == "squaredcos_cap_v2") {
    const auto alpha_bar = [](double t) { return std::pow(std::cos((t + 0.008) / 1.008 * std::numbers::pi / 2), 2); };
    std::vector<double> values;
    for (int64_t i = 0; i < train_steps; ++i) {
      const double t1 = static_cast<double>(i) / static_cast<double>(train_steps);
      const double t2 = static_cast<double>(i + 1) / static_cast<double>(train_steps);
      values.push_back(std::min(1 - alpha_bar(t2) / alpha_bar(t1), 0.999));
    }
    return at::tensor(values, at::kFloat);
  }
  throw Error(fmt::format(
      "{}: \"beta_schedule\" is \"{}\", supported are \"linear\", \"scaled_linear\" and \"squaredcos_cap_v2\"",
      config.path().string(), schedule));
}

// Shifts and scales so that the last timestep is pure noise (arXiv 2305.08891).
Tensor rescale_zero_terminal_snr(const Tensor& alphas_cumprod) {
  auto root = alphas_cumprod.sqrt();
  const auto first = root[0].clone(), last = root[-1].clone();
  return ((root - last) * (first / (first - last))).square();
}

}  // namespace

CogVideoXScheduler::Kind CogVideoXScheduler::kind_of(const JsonFile& config) {
  const auto name = config.get<std::string>("_class_name");
  if (name == "CogVideoXDDIMScheduler") return Kind::ddim;
  if (name == "CogVideoXDPMScheduler") return Kind::dpm;
  throw Error(
      fmt::format("{}: \"_class_name\" is \"{}\", supported are CogVideoXDDIMScheduler and CogVideoXDPMScheduler",
                  config.path().string(), name));
}

CogVideoXScheduler::Kind CogVideoXScheduler::parse_kind(const std::string& name) {
  if (name == "ddim") return Kind::ddim;
  if (name == "dpm") return Kind::dpm;
  throw Error(fmt::format("the scheduler \"{}\" is unknown: choose ddim or dpm", name));
}

CogVideoXScheduler::CogVideoXScheduler(const JsonFile& config, Kind kind, int64_t steps)
    : name_(config.path().string()),
      kind_(kind),
      train_steps_(count_up_to(1'000'000, config, "num_train_timesteps", 1000)),
      prediction_type_(config.get<std::string>("prediction_type", "epsilon")),
      timestep_spacing_(config.get<std::string>("timestep_spacing", "leading")),
      steps_offset_(config.get<int64_t>("steps_offset", 0)) {
  if (prediction_type_ != "epsilon" && prediction_type_ != "sample" && prediction_type_ != "v_prediction")
    throw Error(
        fmt::format("{}: \"prediction_type\" is \"{}\", supported are \"epsilon\", \"sample\" and \"v_prediction\"",
                    name_, prediction_type_));
  if (timestep_spacing_ != "linspace" && timestep_spacing_ != "leading" && timestep_spacing_ != "trailing")
    throw Error(
        fmt::format("{}: \"timestep_spacing\" is \"{}\", supported are \"linspace\", \"leading\" and \"trailing\"",
                    name_, timestep_spacing_));

  if (steps_offset_ < 0 || steps_offset_ >= train_steps_)
    throw Error(fmt::format("{}: \"steps_offset\" is {}, expected 0 to {}", name_, steps_offset_, train_steps_ - 1));

  const auto shift = config.get<double>("snr_shift_scale", 3.0);
  alphas_cumprod_ = (1.0 - betas(config, train_steps_)).cumprod(0);
  alphas_cumprod_ = alphas_cumprod_ / (shift + (1 - shift) * alphas_cumprod_);
  if (config.get<bool>("rescale_betas_zero_snr", false)) alphas_cumprod_ = rescale_zero_terminal_snr(alphas_cumprod_);
  final_alpha_ = config.get<bool>("set_alpha_to_one", true) ? at::ones({}, at::kFloat) : alphas_cumprod_[0];
  set_timesteps(steps);
}

void CogVideoXScheduler::set_timesteps(int64_t steps) {
  if (steps < 1 || steps > train_steps_)
    throw Error("steps", fmt::format("{} steps cannot be made: the scheduler serves 1 to {}", steps, train_steps_));
  std::vector<int64_t> timesteps;
  const auto train = static_cast<double>(train_steps_), n = static_cast<double>(steps);
  if (timestep_spacing_ == "trailing") {
    // The values of numpy's arange(train, 0, -train / n), which counts in doubles. For some n (61, 103, ...) rounding
    // makes it one longer, and the reference runs a last step at timestep -1, which ruins the video: not repeated here.
    const double delta = (train - train / n) - train;
    for (int64_t i = 0; i < steps; ++i)
      timesteps.push_back(static_cast<int64_t>(std::nearbyint(train + static_cast<double>(i) * delta)) - 1);
  } else if (timestep_spacing_ == "leading") {
    for (int64_t i = steps - 1; i >= 0; --i) timesteps.push_back(i * (train_steps_ / steps) + steps_offset_);
  } else {
    const double step = steps > 1 ? (train - 1) / (n - 1) : 0;
    for (int64_t i = steps - 1; i >= 0; --i)
      timesteps.push_back(static_cast<int64_t>(
          std::nearbyint(i == steps - 1 && steps > 1 ? train - 1 : static_cast<double>(i) * step)));
  }
  for (const auto t : timesteps)
    if (t < 0 || t >= train_steps_)
      throw Error("steps", fmt::format("{} steps give the timestep {}, outside 0 to {}: choose another number of steps",
                                       steps, t, train_steps_ - 1));
  timesteps_ = at::tensor(timesteps, at::kLong);
}

Tensor CogVideoXScheduler::denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const {
  const auto alpha = alphas_cumprod_[timestep(index)];
  const auto beta = 1 - alpha;
  if (prediction_type_ == "epsilon") return (latents - beta.sqrt() * predicted) / alpha.sqrt();
  if (prediction_type_ == "v_prediction") return alpha.sqrt() * latents - beta.sqrt() * predicted;
  return predicted;
}

Tensor CogVideoXScheduler::step(const Tensor& predicted, int64_t index, const Tensor& latents,
                                at::Generator& generator) {
  const int64_t t = timestep(index), t_prev = t - train_steps_ / steps();
  const auto alpha = alphas_cumprod_[t];
  const auto alpha_prev = t_prev >= 0 ? alphas_cumprod_[t_prev] : final_alpha_;
  const auto denoised = this->denoised(predicted, index, latents);
  if (kind_ == Kind::ddim) return ddim_step(denoised, latents, alpha, alpha_prev);

  // DPM-Solver++ in terms of lambda, half the log signal-to-noise ratio.
  const auto lambda = [](const Tensor& a) { return (a / (1 - a)).sqrt().log(); };
  const auto h = lambda(alpha_prev) - lambda(alpha);
  const auto keep = ((1 - alpha_prev) / (1 - alpha)).sqrt() * (-h).exp();
  const auto move = (-2 * h).expm1() * alpha_prev.sqrt();
  const auto spread = (1 - alpha_prev).sqrt() * (1 - (-2 * h).exp()).sqrt();
  const auto draw = [&] { return draw_noise(latents.sizes(), generator, latents.options()); };

  // The reference draws once, and again (using only the second) where it corrects by the step before.
  auto noise = draw();
  auto target = denoised;
  if (last_denoised_.defined() && t_prev >= 0) {
    const auto r = (lambda(alpha) - lambda(alphas_cumprod_[timestep(index - 1)])) / h;
    target = (1 + 1 / (2 * r)) * denoised - (1 / (2 * r)) * last_denoised_;
    noise = draw();
  }
  last_denoised_ = denoised;
  return keep * latents - move * target + spread * noise;
}

SavedState CogVideoXScheduler::save() const {
  return last_denoised_.defined() ? SavedState{{{"last_denoised", last_denoised_}}} : SavedState{};
}

void CogVideoXScheduler::load(const SavedState& state, const Tensor& latents) {
  if (state.tensors.contains("last_denoised")) last_denoised_ = state.like("last_denoised", latents.to(at::kFloat));
}

Tensor CogVideoXScheduler::ddim_step(const Tensor& denoised, const Tensor& latents, const Tensor& alpha,
                                     const Tensor& alpha_prev) const {
  const auto keep = ((1 - alpha_prev) / (1 - alpha)).sqrt();
  return keep * latents + (alpha_prev.sqrt() - alpha.sqrt() * keep) * denoised;
}

}  // namespace eav
