// Brings the tensors of a block to where they are computed with, while the block before it works.
#pragma once
#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>

#include <array>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "weights/weights.h"

namespace eav {

// Off the CPU, a block's tensors go through one of two pinned buffers and are copied in a stream of their own. On the
// CPU they stay in the mapped file, whose pages are read.
class Prefetcher {
 public:
  explicit Prefetcher(std::shared_ptr<const Checkpoint> checkpoint);

  // Begins with the tensors whose keys start with `prefix`, and returns at once.
  void begin(const std::string& prefix);

  // The tensors of a block on its device, in the types of the file; none on the CPU, which reads them where they are.
  struct Block {
    Tensor memory;  // what they lie in: one tensor
    StagedTensors tensors;
    std::shared_ptr<c10::Event> copied = nullptr;
  };
  // Waits for what was begun with `prefix`, or does it now. What the device is asked for next finds the tensors there.
  Block take(const std::string& prefix);

 private:
  // The tensors of a block: the places in its memory, which a plan makes as well.
  struct Layout;
  Block bring(const std::string& prefix);
  Block bring_to_device(const Layout& layout);

  std::shared_ptr<const Checkpoint> checkpoint_;
  at::Device device_;
  std::optional<c10::Stream> stream_;  // in which the device copies

  struct Buffer {
    Tensor pinned;
    std::shared_ptr<c10::Event> copied;  // out of it
  };
  std::array<Buffer, 2> buffers_;
  size_t next_ = 0;  // of the buffers

  std::string begun_;
  std::future<Block> block_;  // what was begun with; last, so that its thread ends before the rest goes
};

}  // namespace eav
