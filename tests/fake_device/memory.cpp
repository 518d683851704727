#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>

#include "counters.h"

namespace fake_device {
namespace {

// Twice as many addresses: those of the device, which stay protected, and behind them those of its elements, each as
// far from the other.
constexpr size_t kAddresses = size_t{16} << 40;
constexpr size_t kPage = 4096;
constexpr size_t kUnit = 512;  // bytes that memory is counted in, as CUDA's allocator does

size_t rounded_up(size_t bytes, size_t multiple) { return (bytes + multiple - 1) / multiple * multiple; }

std::byte* addresses() {
  static auto* const begin = [] {
    auto* mapped =
        ::mmap(nullptr, 2 * kAddresses, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, /*fd=*/-1, 0);
    TORCH_CHECK(mapped != MAP_FAILED, "the stand-in device has no addresses");
    return static_cast<std::byte*>(mapped);
  }();
  return begin;
}

std::byte* elements(const void* address) {
  return const_cast<std::byte*>(static_cast<const std::byte*>(address)) + kAddresses;
}

struct Block {
  void* address;
  size_t bytes;
};

void free_block(void* context) {
  const std::unique_ptr<Block> block(static_cast<Block*>(context));
  const auto mapped = rounded_up(block->bytes, kPage);
  ::madvise(elements(block->address), mapped, MADV_DONTNEED);
  ::mprotect(elements(block->address), mapped, PROT_NONE);
  counters().freed(static_cast<int64_t>(block->bytes));
}

class Allocator final : public c10::DeviceAllocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device device(c10::kPrivateUse1, 0);
    if (bytes == 0) return {nullptr, device};
    bytes = rounded_up(bytes, kUnit);
    const std::lock_guard lock(mutex_);
    const auto free = capacity() - counters().in_use();
    TORCH_CHECK_WITH(OutOfMemoryError, static_cast<int64_t>(bytes) <= free, "fake out of memory. Tried to allocate ",
                     bytes, " bytes, ", free, " of ", capacity(), " are free");
    auto* address = addresses() + given_;
    given_ += rounded_up(bytes, kPage);
    TORCH_CHECK(given_ <= kAddresses, "the stand-in device has given all of its addresses");
    ::mprotect(elements(address), rounded_up(bytes, kPage), PROT_READ | PROT_WRITE);
    counters().allocated(static_cast<int64_t>(bytes));
    reserved_ = std::max(reserved_, counters().in_use());
    return {address, new Block{address, bytes}, &free_block, device};
  }
  void copy_data(void* to, const void* from, size_t count) const override {
    std::memcpy(elements(to), elements(from), count);
  }
  // As CUDA's allocator does, it keeps what is freed: who asks the device is told that this is in use.
  std::pair<size_t, size_t> getMemoryInfo(c10::DeviceIndex) override {
    return {static_cast<size_t>(reported_capacity() - reserved_), static_cast<size_t>(reported_capacity())};
  }
  bool initialized() override { return true; }
  void emptyCache(c10::MempoolId_t) override { reserved_ = counters().in_use(); }
  void recordStream(const c10::DataPtr&, c10::Stream) override {}
  c10::CachingDeviceAllocator::DeviceStats getDeviceStats(c10::DeviceIndex) override {
    c10::CachingDeviceAllocator::DeviceStats stats;
    stats.reserved_bytes[0].current = reserved_;
    stats.allocated_bytes[0].current = counters().in_use();
    return stats;
  }
  void resetAccumulatedStats(c10::DeviceIndex) override {}
  void resetPeakStats(c10::DeviceIndex) override {}

 private:
  std::mutex mutex_;
  size_t given_ = 0;      // bytes of addresses
  int64_t reserved_ = 0;  // bytes
};

// ---- of the host ----------------------------------------------------------------------------------------------------

struct Pinned {
  std::mutex mutex;
  std::map<const std::byte*, size_t> blocks;  // bytes, by where they begin
};

Pinned& pinned() {
  static auto* const of_process = new Pinned();  // tensors may outlive all that is destroyed at exit
  return *of_process;
}

void free_pinned(void* data) {
  const std::lock_guard lock(pinned().mutex);
  pinned().blocks.erase(static_cast<std::byte*>(data));
  std::free(data);
}

class PinnedAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    if (bytes == 0) return {nullptr, c10::Device(c10::kCPU)};
    auto* data = std::aligned_alloc(kPage, rounded_up(bytes, kPage));
    const std::lock_guard lock(pinned().mutex);
    pinned().blocks[static_cast<std::byte*>(data)] = bytes;
    return {data, data, &free_pinned, c10::Device(c10::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &free_pinned; }
  void copy_data(void* to, const void* from, size_t count) const override { default_copy_data(to, from, count); }
};

}  // namespace

c10::DeviceAllocator& allocator() {
  static auto* const of_process = new Allocator();
  return *of_process;
}

at::Tensor on_host(const at::Tensor& tensor) {
  if (tensor.numel() == 0) return at::empty_strided(tensor.sizes(), tensor.strides(), tensor.dtype());
  return at::from_blob(elements(tensor.const_data_ptr()), tensor.sizes(), tensor.strides(),
                       at::TensorOptions(tensor.dtype()));
}

const void* device_address(const void* data) {
  const auto* first = addresses() + kAddresses;
  const auto* at = static_cast<const std::byte*>(data);
  return first <= at && at < first + kAddresses ? at - kAddresses : nullptr;
}

c10::Allocator& pinned_allocator() {
  static PinnedAllocator of_process;
  return of_process;
}

bool is_pinned(const void* data) {
  const std::lock_guard lock(pinned().mutex);
  const auto* at = static_cast<const std::byte*>(data);
  const auto after = pinned().blocks.upper_bound(at);
  if (after == pinned().blocks.begin()) return false;
  const auto& [begin, bytes] = *std::prev(after);
  return at < begin + bytes;
}

}  // namespace fake_device
