#include "base/meta_memory.h"

#include <c10/core/Allocator.h>

#include <algorithm>

namespace eav {

struct MetaMemory::Count {
  at::Device device;
  int64_t live = 0, peak = 0;  // bytes
};

namespace {

// Of this thread; null where nothing is counted.
thread_local std::shared_ptr<MetaMemory::Count> counting;

struct Block {
  std::shared_ptr<MetaMemory::Count> count;
  int64_t bytes;
};

void free_block(void* context) {
  const std::unique_ptr<Block> block(static_cast<Block*>(context));
  block->count->live -= block->bytes;
}

// Stands in for ATen's own allocator of meta tensors, which gives no memory either.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t n) override {
    if (!counting || n == 0) return {nullptr, c10::Device(c10::kMeta)};
    constexpr int64_t kMost = int64_t{1} << 60;  // no machine has it, and sums of such numbers stay numbers
    TORCH_CHECK(n < kMost && counting->live < kMost, "more memory than there can be");
    const auto bytes = static_cast<int64_t>(n);
    auto block = std::make_unique<Block>(Block{counting, bytes});
    counting->live += bytes;
    counting->peak = std::max(counting->peak, counting->live);
    return {nullptr, block.release(), &free_block, c10::Device(c10::kMeta)};
  }
  void copy_data(void*, const void*, std::size_t) const override {}
};

}  // namespace

MetaMemory::MetaMemory(at::Device device) : count_(std::make_shared<Count>(Count{.device = device})) {
  static CountingAllocator allocator;
  static const bool installed = [] { return c10::SetAllocator(c10::kMeta, &allocator, /*priority=*/1), true; }();
  static_cast<void>(installed);
  TORCH_INTERNAL_ASSERT(!counting, "this thread counts already");
  counting = count_;
}

MetaMemory::~MetaMemory() { counting.reset(); }

int64_t MetaMemory::peak() const { return count_->peak; }
void MetaMemory::start_counting() { count_->peak = count_->live; }

bool is_for_cpu(const at::Tensor& tensor) {
  return tensor.is_cpu() || (tensor.is_meta() && counting && counting->device.is_cpu());
}

bool kernels_take(const at::Tensor& tensor) {
  const auto type = tensor.scalar_type();
  return is_for_cpu(tensor) && tensor.is_contiguous() && (type == at::kFloat || type == at::kBFloat16);
}

}  // namespace eav
