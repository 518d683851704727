// What can be asked of LTX-Video.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "options/common.h"

namespace eav::ltx_video {

// The steps of two passes, beside a latent upsampler: of a schedule of so many, the first pass runs the first ones, and
// the second one the last.
struct PassSteps {
  int64_t schedule, first, second;
};

// Of all distilled releases: the noise levels of that many steps are those that they were distilled for.
inline constexpr int64_t kDistilledSteps = 8;

// As the release runs them (configs/ltxv-13b-0.9.8-dev.yaml and -distilled.yaml).
inline constexpr PassSteps kPasses{.schedule = 30, .first = 27, .second = 13};
inline constexpr PassSteps kDistilledPasses{.schedule = kDistilledSteps, .first = 7, .second = 3};

// What a release can do beside the others: all of it, where none is told.
struct Abilities {
  bool conditions = true;                // from 0.9.5 on: several pictures and clips, anywhere
  bool decode_timestep = true;           // from 0.9.1 on: the VAE is told one
  bool distilled = false;                // from 0.9.6 on, beside others: few steps, and the prompt's prediction alone
  bool upsampler = true;                 // from 0.9.7 on, where one is given: two passes
  std::optional<PassSteps> passes = {};  // of these
  double tone_mapping = 0;               // between them
};

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
  std::vector<double> second_pass_timesteps =
      of.upsampler
          ? numbers("second_pass_timesteps",
                    "Timesteps of the steps after the latent upscaler, of which the first tells how much noise "
                    "is added (beside a latent upscaler)",
                    "the release's")
          : std::vector<double>();
  double adain_factor = of.upsampler ? number("adain_factor",
                                              "How far upscaled latents get the mean and spread that they had before "
                                              "(beside a latent upscaler)",
                                              {0, 1}, 1.0)
                                     : 0;
  double tone_map_compression_ratio =
      of.upsampler ? number("tone_map_compression_ratio",
                            "How far large values of upscaled latents are made smaller (beside a latent upscaler)",
                            {0, 1}, {of.tone_mapping, of.passes ? "" : "0; 13B 0.9.8 distilled 0.6"})
                   : 0;
  double denoise_strength =
      of.conditions
          ? number("denoise_strength",
                   "Fraction of the steps, the last ones, that is run: on a video, or LTX-Video's initial latents",
                   {0, 1}, 1.0)
          : 1;
  double image_cond_noise_scale =
      of.conditions ? number("image_cond_noise_scale",
                             "Noise on pictures and clips of strength 1 while denoising (from 0.9.5 on)", {0, 1}, 0.15)
                    : 0;
};

}  // namespace eav::ltx_video
