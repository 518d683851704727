#include "options/sizes.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <vector>

#include "eav/error.h"

namespace eav {

void check_size(const std::string& option, int64_t value, int64_t multiple, int64_t most) {
  const int64_t highest = most > 0 ? most / multiple * multiple : 0;
  if (value >= multiple && value % multiple == 0 && (most == 0 || value <= highest)) return;
  const int64_t below = std::max(multiple, value / multiple * multiple);
  std::vector<int64_t> nearest;
  if (most > 0 && below >= highest)
    nearest = {highest};
  else if (value < multiple)
    nearest = {multiple};
  else
    nearest = {below, below + multiple};
  throw Error(option, fmt::format("{} is {}, expected a multiple of {}{}: the nearest {} {}", option, value, multiple,
                                  most > 0 ? fmt::format(" of at most {}", highest) : "",
                                  nearest.size() > 1 ? "are" : "is", fmt::join(nearest, " and ")));
}

void check_frames(int64_t frames, int64_t multiple) {
  if (frames == 1 || (frames > 1 && (frames - 1) % multiple == 0)) return;
  const int64_t below = frames < 1 ? 1 : (frames - 1) / multiple * multiple + 1;
  throw Error("frames", fmt::format("frames is {}, expected 1 or a multiple of {} plus 1: the nearest {} {}", frames,
                                    multiple, frames < 1 ? "is" : "are",
                                    frames < 1 ? "1" : fmt::format("{} and {}", below, below + multiple)));
}

}  // namespace eav
