// How much memory a device has, how much a job takes, and whether it fits.
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <string>

#include "eav/generator.h"
#include "eav/memory.h"
#include "models/job.h"

namespace eav {

// As that of eav/memory.h.
int64_t available_memory(at::Device device);

// Bytes that this process may still take within its control groups, of version 1 and 2: `root` is where they are
// mounted, `own` tells which they are.
int64_t left_in_control_groups(const std::filesystem::path& root = "/sys/fs/cgroup",
                               const std::filesystem::path& own = "/proc/self/cgroup");

// What a job's phases take, each alone in memory: what they do is done with tensors that have no data, and counted.
// `dtype` is left as it is. Phases that follow one which takes more than `enough` bytes are not looked at.
MemoryPlan plan_memory(const VideoJob& job, const Placement& placement,
                       int64_t enough = std::numeric_limits<int64_t>::max());

// Gives memory that was freed, and that keep_freed_memory() keeps, back to the system: a phase begins like a process.
void give_freed_memory_back();

// Throws eav::Error when the plan needs more than there is; `advice` says what would fit.
void check_fits(const MemoryPlan& plan, at::Device device, const std::function<std::string()>& advice);

}  // namespace eav
