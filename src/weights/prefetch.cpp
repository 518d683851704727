#include "weights/prefetch.h"

#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>
#include <vector>

#include "base/meta_memory.h"

namespace eav {

// Where each tensor begins in a block's memory.
struct Prefetcher::Layout {
  struct Place {
    std::string key;
    const TensorFile* file;
    TensorEntry entry;
    int64_t begin;
  };
  std::vector<Place> places;
  int64_t bytes = 0;

  Layout(const Checkpoint& checkpoint, const std::string& prefix) {
    constexpr int64_t kAlignment = 512;  // of what CUDA's allocator gives
    checkpoint.each_below(prefix, [&](const std::string& key, const TensorFile& file, const TensorEntry& entry) {
      places.push_back({key, &file, entry, bytes});
      const auto length = static_cast<int64_t>(entry.end - entry.begin);
      bytes += (length + kAlignment - 1) / kAlignment * kAlignment;
    });
  }
  Block in(const Tensor& memory) const {
    Block block{.memory = memory, .tensors = {}};
    for (const auto& [key, file, entry, begin] : places)
      block.tensors[key] = memory.narrow(0, begin, static_cast<int64_t>(entry.end - entry.begin))
                               .view(entry.dtype)
                               .view(entry.stored_shape());
    return block;
  }
};

Prefetcher::Prefetcher(std::shared_ptr<const Checkpoint> checkpoint)
    : checkpoint_(std::move(checkpoint)), device_(checkpoint_->policy().device) {}

void Prefetcher::begin(const std::string& prefix) {
  begun_ = prefix;
  // A plan counts in the thread that it is made in.
  block_ = std::async(device_.is_meta() ? std::launch::deferred : std::launch::async, [this, prefix] {
    const c10::InferenceMode no_autograd;
    return bring(prefix);
  });
  if (device_.is_meta()) block_.wait();
}

Prefetcher::Block Prefetcher::take(const std::string& prefix) {
  if (block_.valid()) block_.wait();  // also for one that nobody takes, after a stopped run: it works on the buffers
  auto block = begun_ == prefix && block_.valid() ? block_.get() : bring(prefix);
  begun_.clear();
  if (block.copied) {
    const auto computing = c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
    block.copied->block(computing);
    c10::getDeviceAllocator(device_.type())->recordStream(block.memory.storage().data_ptr(), computing);
  }
  return block;
}

Prefetcher::Block Prefetcher::bring(const std::string& prefix) {
  const Layout layout(*checkpoint_, prefix);
  if (device_.is_meta()) {
    const auto memory = at::empty({layout.bytes}, at::TensorOptions(at::kByte).device(device_));
    return is_for_cpu(memory) ? Block{memory, {}} : layout.in(memory);
  }
  if (!device_.is_cpu()) return bring_to_device(layout);
  for (const auto& place : layout.places) place.file->read_ahead(place.entry);
  return {};
}

Prefetcher::Block Prefetcher::bring_to_device(const Layout& layout) {
  if (!stream_) stream_ = c10::impl::VirtualGuardImpl(device_.type()).getStreamFromGlobalPool(device_);
  auto& buffer = buffers_[next_];
  next_ = 1 - next_;
  if (buffer.copied) buffer.copied->synchronize();
  if (!buffer.pinned.defined() || buffer.pinned.numel() < layout.bytes)
    buffer.pinned = at::empty({layout.bytes}, at::TensorOptions(at::kByte).pinned_memory(true));
  auto* to = buffer.pinned.mutable_data_ptr<uint8_t>();
  for (const auto& [key, file, entry, begin] : layout.places) file->copy(entry, to + begin);

  const c10::StreamGuard in_own_stream(*stream_);
  const auto memory = at::empty({layout.bytes}, at::TensorOptions(at::kByte).device(device_));
  memory.copy_(buffer.pinned.narrow(0, 0, layout.bytes), /*non_blocking=*/true);
  buffer.copied = std::make_shared<c10::Event>(device_.type());
  buffer.copied->record(*stream_);
  auto block = layout.in(memory);
  block.copied = buffer.copied;
  return block;
}

}  // namespace eav
