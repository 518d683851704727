// What the enhancement did: CFI and gain of every step and layer that it ran in.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace [[gnu::visibility("default")]] eav {

// With HunyuanVideo's true guidance, and with Wan's guidance, a layer has two entries in a step: the prompt's and the
// negative prompt's.
struct TraceEntry {
  int64_t step, layer;
  double cfi;     // cross-frame intensity, 0 to 1
  double gain;    // max(1, cfi * (T + weight)); 1 means unchanged
  double weight;  // of this step
  // CFI of each head; the mean of a guidance pair. Their mean is cfi.
  std::vector<double> heads{};
  // With EnhanceOptions::maps, the temporal attention map [T, T], row by row, mean over heads and positions: how much
  // each frame (row) attends to each frame (column). Else empty.
  std::vector<float> map{};
  // Of a layer that a cache did not compute at this step: CFI and gain are those of the step whose result was used.
  bool reused = false;
};

struct Trace {
  int64_t token_frames = 0;       // T
  double weight = 0;              // the first step's
  bool adaptive = false;          // later steps have others
  int64_t steps = 0, layers = 0;  // of the whole run, enhanced or not
  std::vector<TraceEntry> entries;
  std::vector<int64_t> experts{};       // of a model with two, the one that each step ran on: 1 or 2
  std::vector<int64_t> reused_steps{};  // that a cache did not compute, but for their first block where it looks there

  // Steps in which the whole transformer ran.
  int64_t computed_steps() const { return steps - static_cast<int64_t>(reused_steps.size()); }
};

// One sentence: how many layer-steps were scaled, by how much, and what to change where nothing was.
std::string describe(const Trace& trace);

// A layer whose gain never left 1, and the weight above which it would: that at which its largest CFI exceeds
// 1 / (T + weight).
struct UnscaledLayer {
  int64_t layer;
  double largest_cfi, weight;
};
std::vector<UnscaledLayer> unscaled_layers(const Trace& trace);

}  // namespace eav
