#include "base/meta_memory.h"

#include <gtest/gtest.h>

#include <thread>

namespace eav {
namespace {

at::Tensor planned(int64_t bytes) { return at::empty({bytes}, at::TensorOptions(at::kByte).device(at::kMeta)); }

TEST(MetaMemory, CountsTheMostBytesAtATime) {
  MetaMemory memory(at::kCPU);
  auto kept = planned(1000);
  { const auto a = planned(300), b = planned(200); }
  const auto c = planned(400);
  EXPECT_EQ(memory.peak(), 1500);
  memory.start_counting();
  EXPECT_EQ(memory.peak(), 1400);
  kept.reset();
  const auto d = planned(500);
  EXPECT_EQ(memory.peak(), 1400);
}

TEST(MetaMemory, CountsWhatOperatorsMake) {
  MetaMemory memory(at::kCPU);
  const auto x = at::empty({8, 16}, at::TensorOptions(at::kFloat).device(at::kMeta));
  const auto view = x.transpose(0, 1).slice(0, 2, 4);  // no memory of its own
  EXPECT_EQ(memory.peak(), 512);
  const auto sum = x + x, half = x.to(at::kHalf);
  EXPECT_EQ(memory.peak(), 512 + 512 + 256);
}

TEST(MetaMemory, IsOfItsThreadAndLifetime) {
  at::Tensor outlives;
  {
    MetaMemory memory(at::kCPU);
    outlives = planned(100);
    EXPECT_TRUE(is_for_cpu(outlives));
    std::thread([&] {
      const auto other = planned(1000);
      EXPECT_FALSE(is_for_cpu(other));
    }).join();
    EXPECT_EQ(memory.peak(), 100);
  }
  EXPECT_FALSE(is_for_cpu(outlives));
  EXPECT_TRUE(is_for_cpu(at::empty({1})));
  MetaMemory next(at::Device(at::kCUDA, 0));
  EXPECT_FALSE(is_for_cpu(outlives));
  outlives.reset();
  const auto mine = planned(50);
  EXPECT_EQ(next.peak(), 50);
}

}  // namespace
}  // namespace eav
