// What every layer of a transformer is told about the step that it computes.
#pragma once
#include <cstdint>

#include "eav/grid.h"
#include "eav/progress.h"

namespace eav {

class Enhancer;

struct Step {
  Grid grid;
  Enhancer& enhance;
  const Progress& progress;  // layers call progress.check() so that a run stops within one of them
  int64_t index = 0;         // of the step, from 0
  int64_t count = 1;         // of steps
  int64_t branch = 0;        // which forward pass of the step: 0, or 1 where guidance runs apart
};

}  // namespace eav
