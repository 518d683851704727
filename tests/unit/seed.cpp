// Random inputs of a test are the same in every run, alone or among others.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace eav {
namespace {

class Seed : public testing::EmptyTestEventListener {
  void OnTestStart(const testing::TestInfo& /*test*/) override { at::manual_seed(0); }
};

[[maybe_unused]] const bool is_set = [] {
  testing::UnitTest::GetInstance()->listeners().Append(new Seed());  // which owns it
  return true;
}();

}  // namespace
}  // namespace eav
