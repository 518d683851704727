// Enhance-A-Video for one video: decides by step and layer whether to enhance, and by how much.
#pragma once
#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "eav/grid.h"
#include "eav/request.h"
#include "eav/saved_state.h"
#include "eav/trace.h"
#include "enhance/gain.h"

namespace eav {

class Enhancer {
 public:
  // `options.weight` is set. `steps` and `layers` are those of the whole run.
  Enhancer(const EnhanceOptions& options, int64_t steps, int64_t layers);

  // Call before each step, with its index from 0.
  void begin_step(int64_t step);

  // The gain of one layer: from queries and keys of the video tokens alone, after their norm and rotary embedding,
  // [B, heads, T*S, d] with any strides. All B rows are branches of one video (the guidance pair), and share the mean
  // of their CFI. 1 where this step and layer are not enhanced, or CFI is not a number. Layers ask for it through
  // nn/attention.h.
  Gain gain(int64_t layer, const Tensor& q, const Tensor& k, Grid grid);

  // Says that from layer `first_layer` on, this step's forward pass number `branch` takes what the last step gave that
  // was computed whole, and with it the gains of that step.
  void reuse(int64_t branch, int64_t first_layer);

  // What was computed so far; waits for the device once.
  Trace trace() const;

  // What it remembers of earlier steps.
  SavedState save() const;
  void load(const SavedState& state);

 private:
  struct Measured {
    int64_t step, layer;
    double weight;
    // On the device until the trace is asked for.
    Tensor cfi;    // scalar, float32
    Tensor heads;  // [heads], float64: the mean of B
    Tensor map;    // [T, T], float16; undefined unless asked for
    bool reused = false;
  };
  bool active(int64_t layer) const;
  // What gain() scales with, T + weight.
  double scale(double weight) const { return static_cast<double>(token_frames_) + weight; }

  EnhanceOptions options_;
  int64_t steps_, layers_;
  int64_t step_ = 0;
  int64_t token_frames_ = 0;
  std::optional<double> weight_;  // of the steps from now on; unset: not yet known
  std::vector<Measured> measured_;
  std::vector<int64_t> reused_steps_;
};

}  // namespace eav
