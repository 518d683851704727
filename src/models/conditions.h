// Pictures and clips that a request conditions on.
#pragma once
#include <ATen/ATen.h>

#include <string>

#include "eav/progress.h"
#include "eav/request.h"
#include "video/resize.h"

namespace eav {

// Throws eav::Error when a file of the request's conditions cannot be read, or is a video where a picture is asked for,
// or a strength is outside 0 to 1.
void check_conditions(const Request& request);

// The frames of a condition at the size of the video, [F, height, width, 3] uint8, at most `most` (0: all), resized
// with `filter`: Lanczos as diffusers' VideoProcessor does. Warns when the request has a picture stretched out of its
// aspect.
at::Tensor load_condition(const Condition& condition, const Request& request, Progress& progress, int64_t most = 0,
                          Filter filter = Filter::lanczos);

// frames [F, H, W, 3] uint8 -> video [1, 3, F, H, W] float in -1..1, the inverse of to_pictures().
at::Tensor to_video(const at::Tensor& frames);

}  // namespace eav
