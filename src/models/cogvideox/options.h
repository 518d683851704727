// What can be asked of CogVideoX.
#pragma once
#include "options/common.h"

namespace eav::cogvideox {

// What a checkpoint says itself.
struct CheckpointStandards {
  Standard<int64_t> width = "the checkpoint's", height = "the checkpoint's", frames = "the checkpoint's";
  Standard<double> fps = "8 or 16";
  Standard<std::string> scheduler = Standard<std::string>::in_words("the checkpoint's");
};

struct Options : CommonOptions {
  explicit Options(Asked asked, const CheckpointStandards& of = {})
      : CommonOptions(std::move(asked), {.width = of.width,
                                         .height = of.height,
                                         .frames = of.frames,
                                         .fps = of.fps,
                                         .guidance = 6.0,
                                         .schedulers = {"ddim", "dpm"},
                                         .scheduler = of.scheduler,
                                         .steps = 50,
                                         .enhance_weight = 3.4}) {  // examples of the method's authors
    take_vae_tiling("off");
  }

  bool dynamic_guidance = boolean("dynamic_guidance", "Guidance that grows over the steps, by a cosine");
};

}  // namespace eav::cogvideox
