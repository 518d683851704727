#include "vae/resample.h"

#include <iterator>
#include <span>
#include <utility>

namespace eav {

Frames Upsample::operator()(Frames x, Pass& pass) const {
  const auto frames = std::ssize(x), height = x[0].size(0), width = x[0].size(1);
  const auto alone = doubles_time ? frames % 2 : frames;  // frames that are not doubled, from the first
  auto out = empty_frames(2 * frames - alone, {2 * height, 2 * width, conv.weight.size(0)}, x[0], pass.one_block);
  for (int64_t t = 0, to = 0; t < frames; ++t, ++to) {
    const auto frame = std::move(x[t]);
    convolve({&frame, 1}, conv.weight, conv.bias, std::span(out).subspan(to, 1), conv.around.border);
    // Frames that are equal before the convolution are equal after it.
    if (t >= alone) ++to, out[to].copy_(out[to - 1]);
  }
  return out;
}

Frames Downsample::operator()(Frames x, Pass& pass) const {
  Frames out;
  const auto step = [&](std::span<const Tensor> window, int64_t) {
    out.push_back(
        convolve_strided(window.first(conv.weight.size(2)), conv.weight, conv.bias, conv.around.border, space_stride));
  };
  auto past = pass.history.take(this);
  const auto take = [&](int64_t t) { return std::move(x[t]); };
  walk(std::ssize(x), /*at_once=*/time_stride, take, conv.around, past, step);
  pass.history.leave(this, std::move(past));
  return out;
}

}  // namespace eav
