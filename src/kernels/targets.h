// The instruction sets that kernels are compiled for, which Highway is told before any of its headers is read.
#pragma once

// Targets whose vector length is unknown when compiling have no arrays of vectors; on them the 128-bit target runs.
// CPUs without SSE4.2 and AES are older than PyTorch: on them the plain target runs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV | HWY_SSSE3)
#include <hwy/detect_targets.h>
