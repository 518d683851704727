// What can be asked of Open-Sora.
#pragma once
#include <string>
#include <vector>

#include "options/common.h"

namespace eav::open_sora {

struct Options : CommonOptions {
  // Throws eav::Error where the value of an option does not serve, or two of them do not go together.
  explicit Options(Asked asked);

  std::vector<Condition> conditions = take_conditions({"image", "video", "last_image", "strength"});
  ImageFit image_fit = take_image_fit("crop");
  std::optional<std::string> resolution =
      name_for({"height", "width"}, "resolution",
               "Size of the video by its name: 144p, 240p, 360p, 480p, 720p, 1080p, 2k or 4k", "NAME", "240p");
  std::optional<std::string> aspect = name_for(
      {"height", "width"}, "aspect", "Shape of the video, height to width, such as 9:16, 3:4 or 1:1", "H:W", "9:16");
  std::optional<std::string> length =
      name_for({"frames"}, "length", "Length of the video by its name: 2s, 4s, 8s or 16s, at 24 fps", "NAME", "2s");
  int64_t loop = whole("loop", "Clips to join, each going on from the end of the one before", {1, 1000}, 1);
  double aesthetic_score =
      number("aesthetic_score", "Score of how pleasing the video looks, written after the prompt", {0, 100}, 6.5);
  std::optional<double> motion_score = number_or_none(
      "motion_score", "Score of how much moves in the video, written after the prompt", {0, 100}, "none");
  std::optional<std::string> camera_motion =
      text_or_none("camera_motion", "How the camera moves, such as 'pan left', written after the prompt", "none");
  bool clean_prompt =
      boolean("clean_prompt", "Clean the prompt as the training captions were: links, tags, numbers, signs", true);
};

}  // namespace eav::open_sora
