#include "models/open_sora/options.h"

#include "eav/error.h"
#include "models/open_sora/named_sizes.h"
#include "text/tokenizer/unicode.h"

namespace eav::open_sora {

Options::Options(Asked asked)
    : CommonOptions(std::move(asked), {.width = 426,
                                       .height = 240,
                                       .frames = 51,
                                       .fps = 24.0,
                                       .guidance = 7.0,
                                       .schedulers = {"euler"},
                                       .scheduler = std::string("euler"),
                                       .steps = 30,
                                       // The method's authors publish none; they use it for their other large models.
                                       .enhance_weight = 4}) {
  if (negative_prompt && !negative_prompt->empty())
    throw Error("negative_prompt",
                "Open-Sora has no negative prompt, its unconditional half is the model's own: leave that option out");
  if ((resolution || aspect) && (is_asked("width") || is_asked("height")))
    throw Error("resolution",
                "a size has a resolution and an aspect, or a width and a height: leave one of the two out");
  if (length && is_asked("frames"))
    throw Error("length", "the video has a length or a number of frames: leave one of the two out");
  if (resolution || aspect) {
    const auto size = named_size(resolution.value_or("240p"), aspect.value_or("9:16"));
    resolve("height", height = size.height);
    resolve("width", width = size.width);
  }
  if (length) resolve("frames", frames = named_length(*length));
  if (!text::is_utf8(camera_motion.value_or(""))) throw Error("camera_motion", "the camera motion is not valid UTF-8");
}

}  // namespace eav::open_sora
