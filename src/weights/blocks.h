// The blocks of a model: all of them in memory, or each only while it is used.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

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
      prefix_ = w.prefix();
    }
    for (int64_t i = 0; i < count; ++i)
      if (checkpoint_)
        make_((w / i).described(), i);
      else
        loaded_.push_back(make_(w / i, i));
  }

  // Calls use(block) for each block in order.
  template <class Use>
  void each(Use use) const {
    for (const auto& block : loaded_) use(block);
    if (!checkpoint_) return;
    const Weights blocks(*checkpoint_, prefix_);
    for (int64_t i = 0; i < count_; ++i) {
      use(make_(blocks / i, i));
      checkpoint_->forget((blocks / i).prefix());
    }
  }

 private:
  int64_t count_;
  Make make_;
  std::vector<Block> loaded_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // what the blocks are loaded from, with offload
  std::string prefix_;                            // where they are in it
};

}  // namespace eav
