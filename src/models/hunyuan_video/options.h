// What can be asked of HunyuanVideo.
#pragma once
#include <string>
#include <vector>

#include "options/common.h"

namespace eav::hunyuan_video {

struct Options : CommonOptions {
  // `takes_image`: an image-to-video model; unset where both kinds are described.
  explicit Options(Asked asked, std::optional<bool> takes_image = std::nullopt)
      : CommonOptions(std::move(asked),
                      {.width = 1280,
                       .height = 720,
                       .frames = 129,
                       .fps = 24.0,
                       .guidance = takes_image ? Standard<double>(*takes_image ? 1.0 : 6.0) : "6, from an image 1",
                       .schedulers = {"euler"},
                       .scheduler = std::string("euler"),
                       .steps = 50,
                       .enhance_weight = 4,  // examples of the method's authors
                       .easy_cache_threshold = 0.025}),
        takes_image(takes_image.value_or(true)) {
    take_vae_tiling("auto");
  }

  bool takes_image;
  std::vector<Condition> conditions = takes_image ? take_conditions({"image"}) : std::vector<Condition>();
  ImageFit image_fit = takes_image ? take_image_fit("stretch") : ImageFit::stretch;
  std::optional<double> flow_shift = take_flow_shift("the checkpoint's");
  double true_guidance =
      number("true_guidance", "Guidance scale of a second pass, with the negative prompt; at most 1 leaves it out",
             {0, 1000}, 1.0);
  std::string enhance_blocks =
      choice("enhance_blocks", "Transformer blocks to enhance: dual-stream (double), single-stream (single) or all",
             {"double", "single", "all"}, std::string("all"));

  bool truly_guided() const { return true_guidance > 1; }
  // What the scheduler came to.
  void resolve_flow_shift(double shift) {
    flow_shift = shift;
    resolve("flow_shift", shift);
  }
};

}  // namespace eav::hunyuan_video
