// What every layer of a transformer is told about the step that it computes.
#pragma once
#include <cstdint>

#include "eav/progress.h"

namespace eav {

class Enhancer;

// The video tokens of a transformer, frame-major: token t*positions + s is position s of token frame t.
struct Grid {
  int64_t frames;     // T: latent frames, padding included, divided by the temporal patch size
  int64_t positions;  // S: positions in a frame
};

struct Step {
  Grid grid;
  Enhancer& enhance;
  const Progress& progress;  // layers call progress.check() so that a run stops within one of them
};

}  // namespace eav
