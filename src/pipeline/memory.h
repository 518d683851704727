// How much memory a device has, and whether a plan fits.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <string>

#include "eav/generator.h"
#include "eav/memory.h"

namespace eav {

// As that of eav/memory.h.
int64_t available_memory(at::Device device);

// Throws eav::Error when the plan needs more than there is; `advice` says what would fit.
void check_fits(const MemoryPlan& plan, at::Device device, const std::function<std::string()>& advice);

}  // namespace eav
