#include "models/wan/options.h"

#include <algorithm>

#include "eav/error.h"

namespace eav::wan {

bool Abilities::takes(const std::string& condition) const {
  return std::ranges::find(conditions, condition) != conditions.end();
}

Options::Options(Asked asked, const Abilities& of)
    : CommonOptions(std::move(asked), {.width = of.width,
                                       .height = of.height,
                                       .frames = of.frames,
                                       .fps = of.fps,
                                       .guidance = of.guidance,
                                       .schedulers = {"unipc", "euler"},
                                       .scheduler = of.scheduler,
                                       .steps = of.steps,
                                       .enhance_weight = 4,  // that of the method's authors for Wan
                                       .easy_cache_threshold = of.easy_cache_threshold,
                                       .easy_cache_first_steps = of.easy_cache_first_steps}) {
  take_vae_tiling("auto");
  flow_shift = take_flow_shift("the checkpoint's");
  if (of.two_experts)
    guidance_2 = number("guidance_2", "Guidance scale of the second expert; counts where guidance is above 1",
                        {0, 1000}, is_asked("guidance") ? Standard<double>(guidance) : of.guidance_2);
  if (of.conditions.empty()) return;
  conditions = take_conditions(of.conditions);
  image_fit = take_image_fit("stretch");
  if (!of.takes("video")) return;
  constexpr double kStrength = 0.8;
  denoise_strength = number_or_none("denoise_strength",
                                    "Fraction of the steps, the last ones, that is run on the video", {0, 1}, "0.8");
  const bool changes = std::ranges::any_of(conditions, &Condition::is_video);
  if (denoise_strength && !changes)
    throw Error("denoise_strength", "there is nothing to change: give a `video`, or leave `denoise_strength` out");
  if (changes) resolve("denoise_strength", *(denoise_strength = denoise_strength.value_or(kStrength)));
}

void Options::resolve_flow_shift(double shift) {
  flow_shift = shift;
  resolve("flow_shift", shift);
}

}  // namespace eav::wan
