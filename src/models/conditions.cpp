#include "models/conditions.h"

#include <fmt/format.h>

#include <cmath>

#include "models/requests.h"
#include "video/reader.h"

namespace eav {

void check_conditions(const Request& request) {
  for (const auto& condition : request.conditions) {
    const auto frames = read_frames(condition.file, 2).size(0);
    if (!condition.is_video && frames > 1)
      throw Error(fmt::format("'{}' is a video, expected a picture: give it with --video", condition.file.string()));
    check_fraction("the strength of a condition", condition.strength);
  }
}

at::Tensor load_condition(const Condition& condition, const Request& request, Progress& progress, int64_t most,
                          Filter filter) {
  const auto frames = read_frames(condition.file, most);
  const auto height = *request.height, width = *request.width;
  const auto from_height = frames.size(1), from_width = frames.size(2);
  const double scale_height = static_cast<double>(height) / static_cast<double>(from_height);
  const double scale_width = static_cast<double>(width) / static_cast<double>(from_width);
  if (request.image_fit == ImageFit::crop) {
    const double scale = std::max(scale_height, scale_width);
    const auto scaled = [&](int64_t n, int64_t least) {
      return std::max<int64_t>(std::llround(static_cast<double>(n) * scale), least);
    };
    const auto covering = resize(frames, scaled(from_height, height), scaled(from_width, width), filter);
    const auto begin = [](int64_t whole, int64_t kept) {  // halves go to the even neighbour
      return static_cast<int64_t>(std::nearbyint(static_cast<double>(whole - kept) / 2));
    };
    return covering.narrow(1, begin(covering.size(1), height), height)
        .narrow(2, begin(covering.size(2), width), width)
        .contiguous();
  }
  if (std::abs(scale_height / scale_width - 1) > 0.02)
    progress.warning(fmt::format("'{}' of {}x{} is stretched to {}x{}; --image-fit crop keeps its aspect",
                                 condition.file.string(), from_width, from_height, width, height));
  return resize(frames, height, width, filter);
}

at::Tensor to_video(const at::Tensor& frames) {
  return (frames.to(at::kFloat) / 255).mul_(2).sub_(1).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

}  // namespace eav
