// The blocks of a model: all of them in memory, or each only while it is used, and the next one on its way.
#pragma once
#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/gpu.h"
#include "weights/prefetch.h"
#include "weights/weights.h"

namespace eav {

template <class Block>
class Blocks {
 public:
  using Make = std::function<Block(const Weights& w, int64_t index)>;

  // The blocks at w/0, w/1, … With the offload policy they are checked, and loaded later, one at a time: from the
  // mapped file, whose pages the system drops and reads again as it must. A probe's are the first alone.
  Blocks(const Weights& w, int64_t count, Make make)
      : count_(w.checkpoint().policy().probe ? std::min<int64_t>(count, 1) : count), make_(std::move(make)) {
    if (const auto& probe = w.checkpoint().policy().probe) {
      probe_ = probe;
      device_ = w.checkpoint().policy().device;
      probe_list_ = w.prefix();
      probe_->lists[probe_list_] = {.count = count};
    }
    if (w.checkpoint().policy().offload && !probe_) {
      checkpoint_ = std::make_shared<Checkpoint>(w.checkpoint());
      prefetcher_ = std::make_shared<Prefetcher>(checkpoint_);
      prefix_ = w.prefix();
    }
    for (int64_t i = 0; i < count_; ++i)
      if (checkpoint_)
        make_((w.quantised() / i).described(), i);
      else
        loaded_.push_back(make_(w.quantised() / i, i));
  }

  // Calls use(block) for each block in order, from the block at `first` on.
  template <class Use>
  void each(Use use, int64_t first = 0) const {
    for (int64_t i = first; i < count_; ++i) one(i, use);
  }

  // Calls use(block) for the block at `index`.
  template <class Use>
  void one(int64_t index, Use use) const {
    if (probe_) return timed(index, use);
    if (!checkpoint_) return void(use(loaded_[static_cast<size_t>(index)]));
    const auto w = Weights(*checkpoint_, prefix_).quantised() / index;
    const auto block = [&] {
      const auto brought = prefetcher_->take(w.prefix());
      return make_(w.staged(brought.tensors), index);
    }();
    if (index + 1 < count_) prefetcher_->begin((Weights(*checkpoint_, prefix_) / (index + 1)).prefix());
    use(block);
    checkpoint_->forget(w.prefix());
  }

 private:
  template <class Use>
  void timed(int64_t index, Use use) const {
    if (index >= count_) return;
    wait_for(device_);
    const auto start = std::chrono::steady_clock::now();
    use(loaded_[static_cast<size_t>(index)]);
    wait_for(device_);
    probe_->lists[probe_list_].seconds.push_back(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }

  int64_t count_;
  Make make_;
  std::vector<Block> loaded_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // what the blocks are loaded from, with offload
  std::shared_ptr<Prefetcher> prefetcher_;
  std::string prefix_;  // where they are in it
  std::shared_ptr<BlockProbe> probe_;
  std::string probe_list_;
  at::Device device_ = at::kCPU;
};

}  // namespace eav
