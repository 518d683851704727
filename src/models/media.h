// Latents and pictures between files, pixels and models.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <map>
#include <vector>

#include "eav/progress.h"
#include "options/common.h"
#include "video/resize.h"

namespace eav {
using at::Tensor;

// The tensor "latents" of a .safetensors file, which must have this shape. Throws eav::Error.
Tensor load_latents(const std::filesystem::path& file, at::IntArrayRef shape);

// The noise that a video begins with: that of the file, or the generator's where there is none.
Tensor initial_latents(const std::filesystem::path& file, at::IntArrayRef shape, at::Generator& generator,
                       const at::TensorOptions& options);

// float frames [1, 3, F, H, W] in -1..1 -> [F, H, W, 3] uint8 on the CPU, rounded as diffusers' VideoProcessor does.
Tensor to_pictures(const Tensor& video);
// The inverse: frames [F, H, W, 3] uint8 -> video [1, 3, F, H, W] float in -1..1.
Tensor to_video(const Tensor& frames);

// A condition with what its file shows: read once, when a request is opened.
struct Picture {
  Condition condition;
  Tensor frames;  // [F, H, W, 3] uint8, as they are in the file
};

// Reads conditions, each file once as long as somebody holds its frames.
class PictureReader {
 public:
  // Of a clip at most `most_frames`. Throws eav::Error when a file cannot be read, or is a video where a picture is
  // asked for, or a strength is outside 0 to 1.
  std::vector<Picture> read(const std::vector<Condition>& conditions, int64_t most_frames);

 private:
  struct Read {
    c10::weak_intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl> frames;
    int64_t most;  // that were asked for
    std::filesystem::file_time_type time;
  };
  Tensor frames(const std::filesystem::path& file, int64_t most);
  std::map<std::filesystem::path, Read> read_;
};

// The frames at the size of the video, [F, height, width, 3] uint8, at most `most`, resized with `filter`: Lanczos as
// diffusers' VideoProcessor does. Warns when a picture is stretched out of its aspect.
Tensor fit(const Picture& picture, int64_t height, int64_t width, ImageFit image_fit, Progress& progress, int64_t most,
           Filter filter = Filter::lanczos);

}  // namespace eav
