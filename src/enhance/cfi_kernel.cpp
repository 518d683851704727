#include "enhance/cfi_kernel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "enhance/cfi_kernel.cpp"
// Targets whose vector length is unknown when compiling have no arrays of vectors; on them the 128-bit target runs.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_RVV)
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include "enhance/cfi_kernel-inl.h"

#if HWY_ONCE
namespace eav {
namespace {
HWY_EXPORT(AddOffDiagonalMass);
HWY_EXPORT(AddAttentionMap);
}  // namespace

void add_off_diagonal_mass(const CfiTask& task, const CfiBlock& block, double* mass_of_head) {
  HWY_DYNAMIC_DISPATCH(AddOffDiagonalMass)(task, block, mass_of_head);
}

void add_attention_map(const CfiTask& task, const CfiBlock& block, double* map) {
  HWY_DYNAMIC_DISPATCH(AddAttentionMap)(task, block, map);
}

}  // namespace eav
#endif
