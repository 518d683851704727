// Videos whose frames [H, W, C] lie apart, and convolutions that walk through them.
#pragma once
#include <ATen/ATen.h>

#include <algorithm>
#include <iterator>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "nn/conv.h"

namespace eav {

// Inside a decoder one video is a list of frames [H, W, C], each with memory of its own: at full size a layer's input
// fills gigabytes, and its first frames make room for the result while the last ones are still to be read.
using Frames = std::vector<Tensor>;

inline int64_t positions_of(const Tensor& frame) { return frame.size(0) * frame.size(1); }

inline Frames empty_frames(int64_t count, at::IntArrayRef shape, const Tensor& like) {
  Frames frames;
  for (int64_t t = 0; t < count; ++t) frames.push_back(at::empty(shape, like.options()));
  return frames;
}

// Walks through the frames of a convolution in time, some at a time: gives `convolve` a window of them between the
// `past` frames before and the `future` ones after, and the index of their first. Each frame(t) is asked for once, in
// order; the first stands for what came before, or zeros do, and the last for what comes after.
template <class Frame, class Convolve>
void walk(int64_t frames, int64_t at_once, int64_t past, int64_t future, const Frame& frame, const Convolve& convolve,
          Border before = Border::kReplicate) {
  const auto first_frame = frame(0);
  Frames window(past, before == Border::kZero ? at::zeros_like(first_frame) : first_frame);
  window.push_back(first_frame);
  for (int64_t first = 0, next = 1; first < frames; first += at_once) {
    const auto end = std::min(first + at_once, frames);
    for (; next < end + future; ++next) window.push_back(next < frames ? frame(next) : Tensor(window.back()));
    convolve(std::span<const Tensor>(window), first);
    window.erase(window.begin(), window.begin() + (end - first));
  }
}

// What a convolution sees beyond the video: so many frames before and after it, and a border around each.
struct Surroundings {
  int64_t past, future;
  Border border;
  Border before = Border::kReplicate;  // what lies before the first frame: zeros, or that frame
};

// The convolution of frame(0), frame(1)... of so many positions, added to the frames of `sum` where there are any;
// weight [out, in, past + 1 + future, 3, 3]. Frames live while the convolution sees them.
template <class Frame>
Frames convolve(const Tensor& weight, const std::optional<Tensor>& bias, const Surroundings& around, int64_t frames,
                int64_t positions, const Frame& frame, Frames sum = {}) {
  const auto write = sum.empty() ? Write::kReplace : Write::kAdd;
  const auto step = [&](std::span<const Tensor> window, int64_t first) {
    const auto n = std::ssize(window) - around.past - around.future;
    if (write == Write::kReplace)
      std::ranges::move(empty_frames(n, {window[0].size(0), window[0].size(1), weight.size(0)}, window[0]),
                        std::back_inserter(sum));
    convolve(window, weight, bias, std::span(sum).subspan(first, n), around.border, write);
  };
  walk(frames, frames_at_once(frames, positions), around.past, around.future, frame, step, around.before);
  return sum;
}

// The convolution at every `time_stride`-th frame and every `space_stride`-th position down and to the right; the last
// frame stands for those after it.
inline Frames convolve_strided(const Frames& x, const Tensor& weight, const std::optional<Tensor>& bias,
                               const Surroundings& around, int64_t time_stride, int64_t space_stride) {
  Frames out;
  for (int64_t t = 0; t < std::ssize(x); t += time_stride) {
    Frames seen;
    for (auto i = t - around.past; i <= t + around.future; ++i)
      seen.push_back(i < 0 && around.before == Border::kZero ? at::zeros_like(x[0])
                                                             : x[std::clamp<int64_t>(i, 0, std::ssize(x) - 1)]);
    out.push_back(convolve_strided(seen, weight, bias, around.border, space_stride));
  }
  return out;
}

}  // namespace eav
