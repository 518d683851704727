#include "vae/cascade.h"

#include <algorithm>
#include <iterator>

namespace eav {

Cascade::Cascade(std::vector<Stage> stages, std::function<void(Frames x)> result, Pass& pass)
    : result_(std::move(result)), pass_(pass) {
  for (auto& stage : stages) steps_.push_back({.run = std::move(stage), .waiting = {}});
}

void Cascade::feed(size_t stage, Frames x, bool last) {
  if (stage == steps_.size()) return result_(std::move(x));
  auto& step = steps_[stage];
  std::ranges::move(x, std::back_inserter(step.waiting));
  while (!step.waiting.empty()) {
    constexpr int64_t kPositions = 8192;
    const auto enough = std::max<int64_t>(kPositions / positions_of(step.waiting[0]) / 2, 1) * 2 - (step.begun ? 0 : 1);
    const auto have = std::ssize(step.waiting);
    if (have < enough && !last) return;
    const auto end = step.waiting.begin() + std::min(have, enough);
    Frames taken(std::make_move_iterator(step.waiting.begin()), std::make_move_iterator(end));
    step.waiting.erase(step.waiting.begin(), end);
    step.begun = true;
    const bool ends = last && step.waiting.empty();
    pass_.progress.check();
    pass_.history.more_follows = !ends;
    feed(stage + 1, step.run(std::move(taken), pass_), ends);
  }
}

}  // namespace eav
