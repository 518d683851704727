#include "vae/frames.h"

#include <iterator>

namespace eav {

Frames empty_frames(int64_t count, at::IntArrayRef shape, const Tensor& like, bool one_block) {
  if (one_block) {
    auto block_shape = shape.vec();
    block_shape.insert(block_shape.begin(), count);
    return at::empty(block_shape, like.options()).unbind();
  }
  Frames frames;
  for (int64_t t = 0; t < count; ++t) frames.push_back(at::empty(shape, like.options()));
  return frames;
}

Tensor joined(const Frames& frames) {
  const auto& first = frames[0];
  for (size_t t = 0; t < frames.size(); ++t) {
    const auto& frame = frames[t];
    if (!frame.is_contiguous() || !frame.is_alias_of(first) ||
        frame.storage_offset() != first.storage_offset() + static_cast<int64_t>(t) * first.numel())
      return at::stack(frames);
  }
  const auto height = first.size(0), width = first.size(1), channels = first.size(2);
  return first.as_strided({std::ssize(frames), height, width, channels},
                          {first.numel(), width * channels, channels, 1});
}

Frames channels_to_positions(const Tensor& x, int64_t time, int64_t space) {
  Frames frames;
  for (const auto& frame : x.unflatten(2, {-1, time, space, space}).unbind(3))  // [H, W, C, space, space]
    frames.push_back(frame.permute({0, 3, 1, 4, 2}));
  return frames;
}

Tensor positions_to_channels(const Tensor& x, int64_t space) {
  return x.unflatten(0, {-1, space}).unflatten(2, {-1, space}).permute({0, 2, 4, 1, 3});
}

Tensor patches_of(const Tensor& frame, int64_t size) {
  return positions_to_channels(frame, size).transpose(3, 4).flatten(2);
}

Tensor from_patches(const Tensor& patches, int64_t size) {
  return patches.unflatten(2, {-1, size, size}).permute({0, 4, 1, 3, 2}).flatten(2, 3).flatten(0, 1);
}

Tensor gathered(const Frames& frames, int64_t space) {
  Frames apart;
  for (const auto& frame : frames) apart.push_back(positions_to_channels(frame, space));
  return at::stack(apart, 3).flatten(2);
}

}  // namespace eav
