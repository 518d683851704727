// The instruction sets that kernels are compiled for, which Highway is told before any of its headers is read.
#pragma once

// Targets whose vector length is unknown when compiling have no arrays of vectors; on them the 128-bit target runs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV)
#include <hwy/detect_targets.h>
