// Runs a kernel's tests on every instruction set that it is compiled for and that this CPU has.
#pragma once
#include "kernels/targets.h"
// After targets.h.
#include <gtest/gtest.h>
#include <hwy/targets.h>

#include <string>
#include <vector>

namespace eav {

inline std::vector<int64_t> instruction_sets() {
  std::vector<int64_t> found;
  for (int64_t rest = hwy::SupportedTargets() & HWY_TARGETS; rest != 0; rest &= rest - 1) found.push_back(rest & -rest);
  return found;
}

// The base of a suite whose parameter is an instruction set, on which kernels run until the test is over.
class OnInstructionSet : public testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { use(GetParam()); }
  void TearDown() override { use(0); }

 private:
  // 0 stands for what the CPU has.
  static void use(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

inline auto on_every_instruction_set() { return testing::ValuesIn(instruction_sets()); }
inline std::string instruction_set_name(const testing::TestParamInfo<int64_t>& info) {
  return hwy::TargetName(info.param);
}

}  // namespace eav
