#include "base/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/impl/alloc_cpu.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iterator>

namespace eav {
namespace {

constexpr size_t kLeast = 64 << 10;  // bytes of a block; what is smaller is the C library's business

size_t in_pages(size_t bytes) {
  static const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return (bytes + page - 1) / page * page;
}

}  // namespace

TensorMemory::~TensorMemory() { give_back(); }

void* TensorMemory::allocate(size_t bytes) {
  const auto size = in_pages(bytes);
  const auto added = static_cast<int64_t>(size);
  const std::lock_guard lock(mutex_);
  void* block = nullptr;
  if (const auto found = kept_blocks_.find(size); found != kept_blocks_.end()) {
    block = found->second;
    kept_blocks_.erase(found);
    kept_ -= added;
  } else {
    give_back_until(std::max<int64_t>(most_in_use_ - in_use_ - added, 0));
    block = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) return nullptr;
  }
  blocks_.emplace(block, size);
  in_use_ += added;
  most_in_use_ = std::max(most_in_use_, in_use_);
  return block;
}

bool TensorMemory::free(void* block) {
  const std::lock_guard lock(mutex_);
  const auto found = blocks_.find(block);
  if (found == blocks_.end()) return false;
  const auto size = static_cast<int64_t>(found->second);
  kept_blocks_.emplace(found->second, block);
  kept_ += size;
  in_use_ -= size;
  blocks_.erase(found);
  return true;
}

void TensorMemory::give_back() {
  const std::lock_guard lock(mutex_);
  give_back_until(0);
  most_in_use_ = in_use_;
}

// The largest first: the fewest blocks.
void TensorMemory::give_back_until(int64_t kept) {
  while (kept_ > kept) {
    const auto largest = std::prev(kept_blocks_.end());
    ::munmap(largest->second, largest->first);
    kept_ -= static_cast<int64_t>(largest->first);
    kept_blocks_.erase(largest);
  }
}

// ---- as ATen's allocator --------------------------------------------------------------------------------------------

namespace {

TensorMemory& memory() {
  static auto* const of_process = new TensorMemory();  // tensors may outlive all that is destroyed at exit
  return *of_process;
}

void free_tensor(void* data) {
  if (!memory().free(data)) c10::free_cpu(data);
}

class TensorAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes >= kLeast ? memory().allocate(bytes) : nullptr;
    if (data == nullptr) data = c10::alloc_cpu(bytes);  // which throws where there is no memory
    return {data, data, &free_tensor, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_tensor; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
};

std::atomic<bool>& keeps() {
  static std::atomic<bool> kept = false;
  return kept;
}

}  // namespace

void keep_memory_of_tensors() {
  static TensorAllocator allocator;
  if (!keeps().exchange(true)) c10::SetAllocator(c10::kCPU, &allocator, /*priority=*/1);
}

void give_memory_of_tensors_back() {
  if (keeps()) memory().give_back();
}

}  // namespace eav
