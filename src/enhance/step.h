// What every layer of a transformer is told about the step that it computes.
#pragma once
#include <cstdint>

#include "eav/grid.h"
#include "eav/progress.h"
#include "enhance/enhancer.h"

namespace eav {

class StepCache;

struct Step {
  Grid grid;
  Enhancer& enhance;
  const Progress& progress;    // layers call progress.check() so that a run stops within one of them
  int64_t index = 0;           // of the step, from 0
  int64_t count = 1;           // steps that the video takes
  int64_t branch = 0;          // which forward pass of the step this is, where guidance takes two
  StepCache* cache = nullptr;  // that may leave work out; see sampling/step_cache.h
};

}  // namespace eav
