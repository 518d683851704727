// How much memory there is, and whether a plan fits.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <string>

#include "eav/generator.h"

namespace eav {

// Bytes that a run may still take on the device: on a CPU the system's available memory, within this process's control
// group.
int64_t available_memory(at::Device device);

// Lets the C library keep what is freed for the next tensor instead of giving it back to the system, which would clear
// every page anew: that was 3 % of a transformer's step. For a whole program; called before anything is computed.
void keep_freed_memory();

// Throws eav::Error when the plan needs more than there is; `advice` says what would fit.
void check_fits(const MemoryPlan& plan, at::Device device, const std::function<std::string()>& advice);

}  // namespace eav
