// A video inside an autoencoder: a list of frames [H, W, C], each with its positions' channels together.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <vector>

#include "weights/weights.h"

namespace eav {

// Frames mostly have memory of their own: at full size a layer's input fills gigabytes, and its first frames make room
// for the result while the last ones are still to be read. The frames of a short chunk may lie in one block.
using Frames = std::vector<Tensor>;

// Gives frame t of a video. It is asked for each once, in order.
using FrameSource = std::function<Tensor(int64_t t)>;

inline int64_t positions_of(const Tensor& frame) { return frame.size(0) * frame.size(1); }

// Frames of this shape [H, W, C], yet to be filled: each with memory of its own, or all in one block.
Frames empty_frames(int64_t count, at::IntArrayRef shape, const Tensor& like, bool one_block = false);

// The video [T, H, W, C] of these frames: without a copy where they lie one after the other in one block.
Tensor joined(const Frames& frames);

// The channels of x [H, W, C * time * space * space] as `time` frames of `space` times the height and width; of the
// axes that are made of the channels, time is the slowest and width the fastest. Views, each [H, space, W, space, C].
Frames channels_to_positions(const Tensor& x, int64_t time, int64_t space);

// The positions of x [H, W, C], `space` along both axes, behind its channels: a view [H / space, W / space, C, space,
// space].
Tensor positions_to_channels(const Tensor& x, int64_t space);

// A frame [H, W, C] as its patches of `size` by `size` positions, and back: [H / size, W / size, C * size * size],
// where columns of a patch are a slower axis than its rows, and channels the slowest.
Tensor patches_of(const Tensor& frame, int64_t size);
Tensor from_patches(const Tensor& patches, int64_t size);

// Some frames [H, W, C] as one: all of them, and their positions, `space` along both axes, behind the channels: [H /
// space, W / space, C * frames * space * space].
Tensor gathered(const Frames& frames, int64_t space);

}  // namespace eav
