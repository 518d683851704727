// 3D convolutions of a video, whole or chunk by chunk: what each frame sees around it, and what the last frames of a
// chunk leave to the next.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>
#include <span>
#include <unordered_map>

#include "eav/progress.h"
#include "nn/conv.h"
#include "vae/frames.h"
#include "weights/weights.h"

namespace eav {

// What a convolution sees beyond each frame: so many frames before and after it, and a border around all of them.
struct Surroundings {
  int64_t past, future;
  Border border;
  Border before = Border::kReplicate;  // what lies before the first frame: zeros, or that frame
  Border after = Border::kReplicate;   // and after the last one
};

// The last frames that each layer of a model saw, from which it continues in the next chunk of the video. Memory is
// bounded by the chunk, however long the video is.
class History {
 public:
  bool more_follows = false;  // false in the last chunk, or in a whole video: nothing is kept then

  Frames take(const void* layer);  // none in the first chunk
  void leave(const void* layer, Frames last);

 private:
  std::unordered_map<const void*, Frames> frames_;
};

// One video on its way through an encoder or a decoder.
struct Pass {
  const Progress& progress;  // stops it
  bool one_block = false;    // the frames of a result lie in one block, not each with memory of its own
  History history = {};
};

// Walks through the frames of a convolution in time, `at_once` at a time: gives `step` a window of them between those
// before and after that `around` tells of, and the index of their first. `past` holds the frames before the first,
// where they are known; afterwards it holds those before the next chunk, if the convolution sees no frame after its
// own.
void walk(int64_t frames, int64_t at_once, const FrameSource& frame, const Surroundings& around, Frames& past,
          const std::function<void(std::span<const Tensor> window, int64_t first)>& step);

// A convolution over as many frames as its weight has taps.
struct Conv3d {
  Tensor weight;               // [out, in, taps, k, k], k odd
  std::optional<Tensor> bias;  // [out]
  Surroundings around;

  Conv3d(const Tensor& weight, std::optional<Tensor> bias, const Surroundings& around);
  // A 3x3 convolution over as many frames as `around` tells of.
  Conv3d(const Weights& w, int64_t in, int64_t out, const Surroundings& around);
  // A 3x3 convolution of every frame alone, whose weight is stored as that of pictures.
  static Conv3d of_pictures(const Weights& w, int64_t in, int64_t out, Border border = Border::kZero);

  // The convolution of so many frames, each of so many positions, added to the frames of `sum` where there are any.
  // Frames live while the convolution sees them, and the last ones while the next chunk needs them.
  Frames operator()(int64_t frames, int64_t positions, const FrameSource& frame, Pass& pass, Frames sum = {}) const;
  // z [F, H, W, in]
  Frames operator()(const Tensor& z, Pass& pass) const;
};

}  // namespace eav
