#include "vae/conv.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace eav {

Frames History::take(const void* layer) {
  auto kept = frames_.extract(layer);
  return kept ? std::move(kept.mapped()) : Frames();
}

void History::leave(const void* layer, Frames last) {
  if (!more_follows) return;
  for (auto& frame : last)  // not to hold the whole block that it is a part of
    if (frame.storage().nbytes() > frame.nbytes()) frame = frame.clone();
  frames_[layer] = std::move(last);
}

void walk(int64_t frames, int64_t at_once, const FrameSource& frame, const Surroundings& around, Frames& past,
          const std::function<void(std::span<const Tensor> window, int64_t first)>& step) {
  auto window = std::move(past);
  int64_t next = 0;
  const auto beyond = [&] { return around.after == Border::kZero ? at::zeros_like(window.back()) : window.back(); };
  const auto take = [&] { window.push_back(next < frames ? frame(next) : beyond()), ++next; };
  if (window.empty()) {
    take();
    const auto before = around.before == Border::kZero ? at::zeros_like(window[0]) : window[0];
    window.insert(window.begin(), around.past, before);
  }
  for (int64_t first = 0; first < frames; first += at_once) {
    const auto end = std::min(first + at_once, frames);
    while (next < end + around.future) take();
    step(window, first);
    window.erase(window.begin(), window.begin() + (end - first));
  }
  past = std::move(window);
}

Conv3d::Conv3d(const Tensor& weight, std::optional<Tensor> bias, const Surroundings& around)
    : weight(conv_weight(weight)), bias(std::move(bias)), around(around) {}

Conv3d::Conv3d(const Weights& w, int64_t in, int64_t out, const Surroundings& around)
    : Conv3d(w.load("weight", {out, in, around.past + 1 + around.future, 3, 3}), w.optional("bias", {out}), around) {}

Conv3d Conv3d::of_pictures(const Weights& w, int64_t in, int64_t out, Border border) {
  return {w.load("weight", {out, in, 3, 3}).unsqueeze(2),
          w.optional("bias", {out}),
          {.past = 0, .future = 0, .border = border}};
}

Frames Conv3d::operator()(int64_t frames, int64_t positions, const FrameSource& frame, Pass& pass, Frames sum) const {
  const auto write = sum.empty() ? Write::kReplace : Write::kAdd;
  const auto make_room = [&](int64_t count, const Tensor& like) {
    std::ranges::move(empty_frames(count, {like.size(0), like.size(1), weight.size(0)}, like, pass.one_block),
                      std::back_inserter(sum));
  };
  const auto step = [&](std::span<const Tensor> window, int64_t first) {
    const auto n = std::ssize(window) - around.past - around.future;
    if (std::ssize(sum) == first) make_room(pass.one_block ? frames : n, window[0]);
    convolve(window, weight, bias, std::span(sum).subspan(first, n), around.border, write);
  };
  auto past = pass.history.take(this);
  walk(frames, frames_at_once(frames, positions), frame, around, past, step);
  pass.history.leave(this, std::move(past));
  return sum;
}

Frames Conv3d::operator()(const Tensor& z, Pass& pass) const {
  const auto frame = [&](int64_t t) { return z[t]; };
  return (*this)(z.size(0), z.size(1) * z.size(2), frame, pass);
}

}  // namespace eav
