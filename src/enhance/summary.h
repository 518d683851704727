// What the enhancement did, in words.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "eav/trace.h"

namespace eav {

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
