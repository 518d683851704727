// What leads from one resolution of an autoencoder to the next.
#pragma once
#include <ATen/ATen.h>

#include "vae/conv.h"
#include "vae/frames.h"

namespace eav {

// Doubles height and width to the nearest, then convolves every frame; and doubles the frames, of an odd number all but
// the first, where `doubles_time`.
struct Upsample {
  Conv3d conv;  // of one frame
  bool doubles_time = false;

  Frames operator()(Frames x, Pass& pass) const;
};

// A convolution at every `time_stride`-th frame and every `space_stride`-th position down and to the right.
struct Downsample {
  Conv3d conv;
  int64_t time_stride, space_stride;

  Frames operator()(Frames x, Pass& pass) const;
};

}  // namespace eav
