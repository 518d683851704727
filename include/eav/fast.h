// What makes videos fast here, and keeps them near to what they are otherwise.
#pragma once
#include "eav/request.h"

namespace [[gnu::visibility("default")]] eav {

// The runtime with the types that a CPU is fastest in: bfloat16, but for the VAE, where this one multiplies that, and
// blocks in int8, where its products are exact. On other devices it stays.
Runtime fastest(Runtime runtime);

// Options of a request that leave steps out: EasyCache, with a threshold at which the demo's videos have a PSNR of 40 dB
// or more, the worst 35, to those of all steps: docs/speed.md.
const Settings& fewer_steps();
// The part of the steps that was computed then.
inline constexpr double kFewerSteps = 0.51;

}  // namespace eav
