// Which steps of a video are computed, and which are made of what earlier ones gave.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

namespace eav {

struct CacheOptions {
  enum class Kind { none, easy, first_block, mag, taylor };
  Kind kind = Kind::none;
  double threshold = 0;             // of easy, first_block and mag: how much change an uncomputed step may stand for
  int64_t first_steps = 0;          // of easy: so many are always computed
  int64_t interval = 0;             // of taylor: one step in so many is computed
  std::vector<double> ratios = {};  // of mag: how the size of what the blocks add changes, for each step
  // Of mag: every step is computed, and told how that size changed.
  std::function<void(double ratio)> measure = {};
};

}  // namespace eav
