// The blocks of a model: all of them in memory, or each only while it is used, and the next one on its way.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "weights/prefetch.h"
#include "weights/weights.h"

namespace eav {

template <class Block>
class Blocks {
 public:
  using Make = std::function<Block(const Weights& w, int64_t index)>;

  // The blocks at w/0, w/1, … With the offload policy they are checked, and loaded later, one at a time: from the
  // mapped file, whose pages the system drops and reads again as it must.
  Blocks(const Weights& w, int64_t count, Make make) : count_(count), make_(std::move(make)) {
    if (w.checkpoint().policy().offload) {
      checkpoint_ = std::make_shared<Checkpoint>(w.checkpoint());
      prefetcher_ = std::make_shared<Prefetcher>(checkpoint_);
      prefix_ = w.prefix();
    }
    for (int64_t i = 0; i < count; ++i)
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
  int64_t count_;
  Make make_;
  std::vector<Block> loaded_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // what the blocks are loaded from, with offload
  std::shared_ptr<Prefetcher> prefetcher_;
  std::string prefix_;  // where they are in it
};

}  // namespace eav
