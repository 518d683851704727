// What the cache "mag" has to know of a model: measured once, and kept among the user's caches.
#pragma once
#include <string>

#include "models/job.h"

namespace eav {

// Where a job's cache is mag and has no ratios, it takes those that were measured with this checkpoint, schedule,
// guidance and enhancement, or measures them: by the same video, all of whose steps are computed.
void take_mag_ratios(VideoJob& job, const std::string& fingerprint, Progress& progress);

}  // namespace eav
