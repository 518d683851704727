#include "base/tensor_memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

namespace eav {
namespace {

constexpr size_t kBlock = 1 << 20;

TEST(TensorMemory, GivesAFreedBlockAgain) {
  TensorMemory memory;
  auto* first = memory.allocate(kBlock);
  const auto taken = memory.in_use();
  EXPECT_GE(taken, static_cast<int64_t>(kBlock));
  EXPECT_TRUE(memory.free(first));
  EXPECT_EQ(memory.in_use(), 0);
  EXPECT_EQ(memory.kept(), taken);
  EXPECT_EQ(memory.allocate(kBlock), first);
  EXPECT_EQ(memory.kept(), 0);
  EXPECT_TRUE(memory.free(first));
}

TEST(TensorMemory, KnowsItsBlocks) {
  TensorMemory memory;
  int other = 0;
  EXPECT_FALSE(memory.free(&other));
  auto* block = memory.allocate(kBlock);
  EXPECT_TRUE(memory.free(block));
  EXPECT_FALSE(memory.free(block));
}

TEST(TensorMemory, GivesBackWhatItKeeps) {
  TensorMemory memory;
  auto* used = memory.allocate(kBlock);
  const auto taken = memory.in_use();
  memory.free(memory.allocate(2 * kBlock));
  EXPECT_GT(memory.kept(), 0);
  memory.give_back();
  EXPECT_EQ(memory.kept(), 0);
  EXPECT_EQ(memory.in_use(), taken);
  std::memset(used, 1, kBlock);  // still there
  memory.free(used);
}

// Blocks of random sizes come and go: the memory taken is never more than what was in use at some time, and no two
// blocks share a byte.
TEST(TensorMemory, TakesNoMoreThanWasInUse) {
  struct Block {
    unsigned char* bytes;
    size_t size;
    unsigned char mark;
  };
  TensorMemory memory;
  std::mt19937 random(0);
  std::vector<Block> blocks;
  int64_t most = 0;
  for (int i = 0; i < 4000; ++i) {
    if (blocks.size() < 30 && random() % 2 == 0) {
      const auto size = kBlock / 2 * (1 + random() % 12) + random() % 3;
      const auto mark = static_cast<unsigned char>(random());
      auto* bytes = static_cast<unsigned char*>(memory.allocate(size));
      ASSERT_NE(bytes, nullptr);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(bytes) % 64, 0u);
      bytes[0] = bytes[size / 2] = bytes[size - 1] = mark;
      blocks.push_back({bytes, size, mark});
    } else if (!blocks.empty()) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      const auto [bytes, size, mark] = blocks.back();
      EXPECT_TRUE(bytes[0] == mark && bytes[size / 2] == mark && bytes[size - 1] == mark);
      EXPECT_TRUE(memory.free(bytes));
      blocks.pop_back();
    }
    most = std::max(most, memory.in_use());
    ASSERT_LE(memory.in_use() + memory.kept(), most);
  }
  for (const auto& block : blocks) memory.free(block.bytes);
}

}  // namespace
}  // namespace eav
