// What can be asked of Wan.
#pragma once
#include <string>
#include <vector>

#include "options/common.h"

namespace eav::wan {

// What a release can do beside the others, and its defaults: all of it, where none is told.
struct Abilities {
  std::vector<std::string> conditions{"image", "last_image", "video"};  // that it takes; empty: none
  bool two_experts = true;
  Standard<int64_t> width = "832 or 1280, or the image's", height = "480, 704 or 720, or the image's";
  Standard<int64_t> frames = "81 (TI2V 121), or the video's";
  Standard<double> fps = "16 (TI2V 24)";
  Standard<double> guidance = "5 (FLF2V 5.5, A14B 4 and from an image 3.5)";
  Standard<double> guidance_2 = "3, from an image 3.5, or the first one's where that alone is given";
  Standard<int64_t> steps = "50 (A14B 40)";
  double easy_cache_threshold = 0.05;
  int64_t easy_cache_first_steps = 5;
  Standard<std::string> scheduler = Standard<std::string>::in_words("the checkpoint's");

  bool takes(const std::string& condition) const;
};

struct Options : CommonOptions {
  explicit Options(Asked asked, const Abilities& of = {});

  std::vector<Condition> conditions;
  ImageFit image_fit = ImageFit::stretch;
  std::optional<double> flow_shift;
  std::optional<double> denoise_strength;  // set where a video is changed
  double guidance_2 = 0;                   // of the second expert

  // What the scheduler came to.
  void resolve_flow_shift(double shift);
};

}  // namespace eav::wan
