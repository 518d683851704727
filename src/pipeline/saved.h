// The state of a video whose steps are done.
#pragma once
#include "eav/saved_state.h"
#include "models/job.h"

namespace eav {

// What decoding goes on from: state.denoised() then holds.
SavedState save(const Denoised& denoised);
// Throws eav::Error where the state is none of a video that is denoised.
Denoised load_denoised(const SavedState& state);

}  // namespace eav
