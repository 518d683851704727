// The adaptive weight: one for each step, by which the layers' mean gain comes to the same target whatever the video's
// length and content. docs/adaptive.md explains it.
#pragma once
#include <cstdint>
#include <span>

namespace eav {

// The mean over layers of max(1, CFI * (T + weight)) that the weight is chosen for: amid what published weights give at
// usual lengths, 1.12 (HunyuanVideo, 129 frames) to 1.31 (weight 4 at 49 frames), where all frames are looked at alike.
inline constexpr double kTargetGain = 1.2;

// The weight before anything was measured: that at which layers that look at all T frames alike reach the target.
double first_adapted_weight(int64_t token_frames);

// The weight after a step whose layers had these CFI (0 to 1): half of the way from `weight`, that of the step, to the
// one at which they would have reached the target; 0 to 2 T, and at most 100.
double adapted_weight(std::span<const double> cfi, int64_t token_frames, double weight);

}  // namespace eav
