#include "base/tensor_memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/alignment.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <new>

namespace eav {
namespace {

constexpr size_t kLeast = 64 << 10;  // bytes of a block; what is smaller is the C library's business

// Blocks begin at different places of a page: a CPU that reads from one and writes to another at the same place of
// their pages takes the one for the other until it has compared their whole addresses.
constexpr size_t kPlaces = 8, kPlace = 256;  // bytes from one to the next

size_t page_size() {
  static const auto size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// Pages from the system, as many as these bytes fill; null where it has no more. What fills large pages lies in such
// ones, so that the CPU finds its addresses sooner.
std::byte* map(size_t size) {
  constexpr size_t kLargePage = 2 << 20;
  const bool large = size >= 2 * kLargePage;
  const auto mapped = size + (large ? kLargePage : 0);
  auto* pages = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(pages);
  if (!large) return begin;
  const auto before = kLargePage - reinterpret_cast<uintptr_t>(begin) % kLargePage, after = kLargePage - before;
  ::munmap(begin, before);
  if (after > 0) ::munmap(begin + before + size, after);
  ::madvise(begin + before, size / kLargePage * kLargePage, MADV_HUGEPAGE);
  return begin + before;
}

size_t rounded_up(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

size_t in_pages(size_t bytes) { return rounded_up(bytes, page_size()); }

}  // namespace

TensorMemory::~TensorMemory() { give_back(); }

void* TensorMemory::allocate(size_t bytes) {
  const auto size = in_pages(bytes + (kPlaces - 1) * kPlace);
  const auto added = static_cast<int64_t>(size);
  const std::lock_guard lock(mutex_);
  void* block = nullptr;
  if (const auto found = kept_blocks_.find(size); found != kept_blocks_.end()) {
    block = found->second;
    kept_blocks_.erase(found);
    kept_ -= added;
  } else {
    give_back_until(std::max<int64_t>(most_in_use_ - in_use_ - added, 0));
    auto* pages = map(size);
    if (pages == nullptr) return nullptr;
    block = pages + mapped_++ % kPlaces * kPlace;
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
    auto* block = static_cast<std::byte*>(largest->second);
    ::munmap(block - reinterpret_cast<uintptr_t>(block) % page_size(), largest->first);
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
  if (!memory().free(data)) std::free(data);
}

class TensorAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    void* data = bytes >= kLeast ? memory().allocate(bytes) : nullptr;
    if (data == nullptr && bytes > 0) data = std::aligned_alloc(c10::gAlignment, rounded_up(bytes, c10::gAlignment));
    if (data == nullptr && bytes > 0) throw std::bad_alloc();  // c10::alloc_cpu may end the process instead
    return {data, data, &free_tensor, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_tensor; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

void keep_memory_of_tensors() {
  static TensorAllocator allocator;
  c10::SetAllocator(c10::kCPU, &allocator, /*priority=*/1);
}

void give_memory_of_tensors_back() { memory().give_back(); }

}  // namespace eav
