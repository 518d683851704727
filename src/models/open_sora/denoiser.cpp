#include "models/open_sora/denoiser.h"

#include "nn/planned.h"

namespace eav::open_sora {
namespace {

Tensor of_frames(const Tensor& mask) { return mask.view({1, 1, -1, 1, 1}); }

}  // namespace

OpenSoraDenoiser::OpenSoraDenoiser(const Transformer& transformer, const RectifiedFlowScheduler& scheduler,
                                   const Told& told, const std::optional<GivenFrames>& given)
    : transformer_(transformer), scheduler_(scheduler), told_(told), given_(given) {
  if (given) noised_ = given->edited == 1;
}

Guidance OpenSoraDenoiser::guidance(const Step& step) const {
  if (rows(step) == 1) return {};
  return {.branches = Guidance::Branches::pair, .scale = told_.guidance_scale, .prompt_row = 0};
}

// Frames whose turn it is to change begin as they would look at this step's noise level.
Tensor OpenSoraDenoiser::before_step(const Tensor& latents, const Step& step) {
  if (!given_) return latents;
  changing_ = given_->edited * RectifiedFlowScheduler::kTrainTimesteps >= scheduler_.timesteps()[step.index];
  const auto noisy = scheduler_.add_noise(latents, given_->noise(), step.index);
  const auto input = choose(of_frames(changing_ & ~noised_), noisy, latents);
  noised_ = changing_;
  return input;
}

Tensor OpenSoraDenoiser::predict(const Tensor& latents, Step& step) {
  const auto timestep = scheduler_.timesteps()[step.index].item<double>();
  const auto timesteps = at::full({rows(step)}, timestep, latents.options());
  const auto frame_mask = given_ ? std::optional(changing_.unsqueeze(0).expand({rows(step), -1})) : std::nullopt;
  const auto input = latents.to(told_.compute).expand({rows(step), -1, -1, -1, -1});
  const auto output =
      transformer_(input, timesteps, rows(step) == 1 ? told_.inputs.prompt_alone() : told_.inputs, frame_mask, step);
  return output.slice(1, 0, latents.size(1));  // a predicted variance is not used
}

Tensor OpenSoraDenoiser::after_step(const Tensor& next, const Tensor& input, const Step& /*step*/) const {
  return given_ ? choose(of_frames(changing_), next, input) : next;
}

SavedState OpenSoraDenoiser::save() const { return given_ ? SavedState{{{"noised", noised_}}} : SavedState{}; }

void OpenSoraDenoiser::load(const SavedState& state) {
  if (given_) noised_ = state.like("noised", noised_);
}

}  // namespace eav::open_sora
