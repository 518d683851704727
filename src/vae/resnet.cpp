#include "vae/resnet.h"

namespace eav {

Frames convolve_normed(Frames x, const NormedSilu& silu, const Conv3d& conv, Pass& pass) {
  const auto normed = [&](int64_t t) {
    const auto frame = std::move(x[t]);
    silu(t, frame, frame);
    return frame;
  };
  return conv(std::ssize(x), positions_of(x[0]), normed, pass);
}

Frames Residual::operator()(Frames x, Pass& pass) const {
  const auto silu1 = norm1(x);
  const bool frame_by_frame = shortcut && !pass.one_block;  // the shortcut's result takes the place of its input
  const auto normed1 = [&](int64_t t) {
    const auto frame = x[t], out = frame_by_frame ? std::exchange(x[t], shortcut(frame)) : at::empty_like(frame);
    silu1(t, frame, out);
    return out;
  };
  const auto frames = std::ssize(x), positions = positions_of(x[0]);
  auto h = conv1(frames, positions, normed1, pass);
  if (shortcut && pass.one_block) x = shortcut(joined(x)).unbind();

  const auto silu2 = norm2(h);
  const auto normed2 = [&](int64_t t) {
    const auto frame = std::move(h[t]);
    silu2(t, frame, frame);
    return frame;
  };
  return conv2(frames, positions, normed2, pass, std::move(x));
}

}  // namespace eav
