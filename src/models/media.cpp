#include "models/media.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "eav/error.h"
#include "eav/safetensors.h"
#include "eav/video.h"
#include "nn/planned.h"

namespace eav {

Tensor load_latents(const std::filesystem::path& file, at::IntArrayRef shape) {
  const auto tensors = read_safetensors(file);
  const auto found = tensors.find("latents");
  if (found == tensors.end()) throw Error("init_latents", fmt::format("{}: has no tensor \"latents\"", file.string()));
  const auto& latents = found->second;
  if (latents.sizes() != shape || !latents.is_floating_point())
    throw Error("init_latents",
                fmt::format("{}: \"latents\" has shape [{}], this size and length need floating point numbers of [{}]",
                            file.string(), fmt::join(latents.sizes(), ", "), fmt::join(shape, ", ")));
  return latents.clone();
}

Tensor initial_latents(const std::filesystem::path& file, at::IntArrayRef shape, at::Generator& generator,
                       const at::TensorOptions& options) {
  return file.empty() ? draw_noise(shape, generator, options) : load_latents(file, shape).to(options);
}

// Frame by frame: copies of a long video would take more memory than a decoder that works in tiles.
Tensor to_pictures(const Tensor& video) {
  const auto bytes = at::TensorOptions(at::kByte).device(host_of(video.device()));
  const auto pictures = at::empty({video.size(2), video.size(3), video.size(4), video.size(1)}, bytes);
  for (int64_t t = 0; t < video.size(2); ++t) {
    const auto frame = video[0].select(1, t).to(at::kFloat);  // [3, H, W]
    pictures[t].copy_((frame / 2 + 0.5).clamp_(0, 1).mul_(255).round_().permute({1, 2, 0}));
  }
  return pictures;
}

Tensor to_video(const Tensor& frames) {
  return (frames.to(at::kFloat) / 255).mul_(2).sub_(1).permute({3, 0, 1, 2}).unsqueeze(0).contiguous();
}

Tensor PictureReader::frames(const std::filesystem::path& file, int64_t most) {
  std::error_code ignored;
  const auto time = std::filesystem::last_write_time(file, ignored);
  if (const auto known = read_.find(file); known != read_.end() && known->second.time == time)
    if (auto held = known->second.frames.lock(); held.defined()) {
      const Tensor frames(std::move(held));
      if (known->second.most >= most || frames.size(0) < known->second.most) return frames.slice(0, 0, most);
    }
  auto frames = read_frames(file, most);
  read_.insert_or_assign(file, Read{c10::weak_intrusive_ptr(frames.getIntrusivePtr()), most, time});
  return frames;
}

std::vector<Picture> PictureReader::read(const std::vector<Condition>& conditions, int64_t most_frames) {
  std::vector<Picture> pictures;
  for (const auto& condition : conditions) {
    // A second frame of a picture tells that it is a video.
    auto shown = frames(condition.file, condition.is_video ? most_frames : 2);
    if (!condition.is_video && shown.size(0) > 1)
      throw Error("conditions",
                  fmt::format("'{}' is a video, expected a picture: give it with `video`", condition.file.string()));
    if (const auto strength = condition.strength.value_or(1); !(strength >= 0 && strength <= 1))
      throw Error("conditions",
                  fmt::format("the strength of a condition is {}, expected a number from 0 to 1", strength));
    pictures.push_back({condition, std::move(shown)});
  }
  return pictures;
}

Tensor fit(const Picture& picture, int64_t height, int64_t width, ImageFit image_fit, Progress& progress, int64_t most,
           Filter filter) {
  const auto frames = picture.frames.slice(0, 0, most);
  const auto from_height = frames.size(1), from_width = frames.size(2);
  const double scale_height = static_cast<double>(height) / static_cast<double>(from_height);
  const double scale_width = static_cast<double>(width) / static_cast<double>(from_width);
  if (image_fit == ImageFit::crop) {
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
    progress.warning(fmt::format("'{}' of {}x{} is stretched to {}x{}; `image_fit` crop keeps its aspect",
                                 picture.condition.file.string(), from_width, from_height, width, height));
  return resize(frames, height, width, filter);
}

}  // namespace eav
