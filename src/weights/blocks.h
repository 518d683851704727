// The blocks of a model: all of them in memory, or each only while it is used.
#pragma once
#include <functional>
#include <memory>
#include <vector>

#include "weights/weights.h"

namespace eav {

template <class Block>
class Blocks {
 public:
  using Make = std::function<Block(const Weights& w, int64_t index)>;

  // The blocks at w/0, w/1, … With the offload policy they are checked, and loaded later, one at a time: from the
  // mapped file, whose pages the system drops and reads again as it must.
  Blocks(const Weights& w, int64_t count, const Make& make) : count_(count) {
    const bool offload = w.checkpoint().policy().offload;
    for (int64_t i = 0; i < count; ++i)
      if (offload)
        make((w / i).described(), i);
      else
        loaded_.push_back(make(w / i, i));
    if (!offload) return;
    checkpoint_ = std::make_shared<Checkpoint>(w.checkpoint());
    make_ = [make, here = w.in(*checkpoint_)](int64_t i) { return make(here / i, i); };
    forget_ = [checkpoint = checkpoint_.get(), prefix = w.prefix()](int64_t i) {
      checkpoint->forget(prefix + std::to_string(i) + ".");
    };
  }

  // Calls use(block) for each block in order.
  template <class Use>
  void each(Use use) const {
    for (const auto& block : loaded_) use(block);
    if (!checkpoint_) return;
    for (int64_t i = 0; i < count_; ++i) {
      use(make_(i));
      forget_(i);
    }
  }

 private:
  int64_t count_;
  std::vector<Block> loaded_;
  std::shared_ptr<const Checkpoint> checkpoint_;  // what the blocks are loaded from, with offload
  std::function<Block(int64_t)> make_;
  std::function<void(int64_t)> forget_;
};

}  // namespace eav
