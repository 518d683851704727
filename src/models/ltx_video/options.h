// What can be asked of LTX-Video.
#pragma once
#include <string>
#include <vector>

#include "options/common.h"

namespace eav::ltx_video {

// What a release can do beside the others: all of it, where none is told.
struct Abilities {
  bool conditions = true;       // from 0.9.5 on: several pictures and clips, anywhere
  bool decode_timestep = true;  // from 0.9.1 on: the VAE is told one
  bool distilled = false;       // from 0.9.6 on, beside others: few steps, and the prompt's prediction alone
};

// Of all distilled releases: the noise levels of that many steps are those that they were distilled for.
inline constexpr int64_t kDistilledSteps = 8;

struct Options : CommonOptions {
  explicit Options(Asked asked, Abilities of = {});

  Abilities of;
  std::vector<Condition> conditions =
      take_conditions(of.conditions ? std::vector<std::string>{"image", "video", "frame_index", "strength"}
                                    : std::vector<std::string>{"image"});
  ImageFit image_fit = take_image_fit("stretch");
  std::optional<double> flow_shift = take_flow_shift("the checkpoint's");
  double guidance_rescale =
      number("guidance_rescale", "How far guidance keeps the spread of the prompt's prediction", {0, 1}, 0.0);
  bool vae_framewise =
      boolean("vae_framewise", "Decode latents in parts of 17 frames, blended: less memory, another picture");
  double decode_timestep =
      of.decode_timestep
          ? number("decode_timestep", "Timestep that the VAE is told when it decodes (from 0.9.1 on)", {0, 1}, 0.05)
          : 0;
  double decode_noise_scale =
      of.decode_timestep ? number("decode_noise_scale",
                                  "Noise mixed into the latents before the VAE decodes (from 0.9.1 on)", {0, 1}, 0.025)
                         : 0;
  std::vector<double> timesteps =
      of.conditions ? numbers("timesteps", "Timesteps of the denoising steps, such as 1000,909,725 (from 0.9.5 on)",
                              "by the number of steps")
                    : std::vector<double>();
  double denoise_strength =
      of.conditions ? number("denoise_strength",
                             "Fraction of the steps, the last ones, that is run: on a video, or LTX-Video's initial latents",
                             {0, 1}, 1.0)
                    : 1;
  double image_cond_noise_scale =
      of.conditions ? number("image_cond_noise_scale",
                             "Noise on pictures and clips of strength 1 while denoising (from 0.9.5 on)", {0, 1}, 0.15)
                    : 0;
};

}  // namespace eav::ltx_video
