#include "models/open_sora/sampling.h"

namespace eav::open_sora {

Tensor Sampling::operator()(Tensor latents, const std::optional<GivenFrames>& given, Enhancer& enhancer,
                            const Progress& progress, const std::function<void(int64_t)>& after_step) const {
  const auto grid = transformer.grid(latents.size(2), latents.size(3), latents.size(4));
  Step step{grid, enhancer, progress};
  const auto of_frames = [](const Tensor& mask) { return mask.view({1, 1, -1, 1, 1}); };
  Tensor noised;  // [T] bool: frames that are denoised already
  if (given) noised = given->edited == 1;

  const auto steps = scheduler.timesteps().size(0), rows = static_cast<int64_t>(captions.size());
  for (int64_t i = 0; i < steps; ++i) {
    enhancer.begin_step(i);
    const auto timestep = scheduler.timesteps()[i].to(latents.device());
    const auto before = latents;
    Tensor changing;  // [T] bool
    std::optional<Tensor> frame_mask;
    if (given) {
      changing = given->edited * RectifiedFlowScheduler::kTrainTimesteps >= timestep;
      const auto noisy = scheduler.add_noise(latents, given->noise(), i);
      latents = at::where(of_frames(changing & ~noised), noisy, latents);
      noised = changing;
      frame_mask = changing.unsqueeze(0).expand({rows, -1});
    }
    const auto input = latents.to(compute).expand({rows, -1, -1, -1, -1});
    const auto output = transformer(input, timestep.expand({rows}), captions, video, frame_mask, step);
    auto velocity = output.slice(1, 0, latents.size(1));  // a predicted variance is not used
    if (rows == 2) {
      const auto of = velocity.split(1);
      velocity = of[1] + guidance_scale * (of[0] - of[1]);
    }
    latents = scheduler.step(velocity, i, latents);
    if (given) latents = at::where(of_frames(changing), latents, before);
    after_step(i);
  }
  return latents;
}

}  // namespace eav::open_sora
