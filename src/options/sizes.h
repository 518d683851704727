// Checks of a video's size and length, with advice.
#pragma once
#include <cstdint>
#include <string>

namespace eav {

// Throws eav::Error when `value` is no positive multiple of `multiple` or above `most` (0: no limit), naming the
// nearest that are; `option` is "width" or "height".
void check_size(const std::string& option, int64_t value, int64_t multiple, int64_t most = 0);

// Throws eav::Error when `frames` is neither 1 nor 1 more than a multiple of `multiple`, naming its neighbours.
void check_frames(int64_t frames, int64_t multiple);

}  // namespace eav
