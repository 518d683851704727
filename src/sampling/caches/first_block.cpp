#include "sampling/caches/first_block.h"

#include <fmt/format.h>

namespace eav {

void FirstBlockCache::blocks(const Tensor& tokens, Step& step, const Work& first, const Work& rest) {
  const auto others = fmt::format("others {}", step.branch);  // what the other blocks add
  {
    const auto before = step.branch == 0 ? tokens.clone() : Tensor();
    first();
    if (step.branch == 0) {
      const auto added = tokens - before;
      reuses_ = !tokens.is_meta() && has(others) &&
                mean_change(added, tensor("first")) / tensor("first").abs().mean().item<double>() <= threshold_;
      if (!reuses_) tensor("first") = added;
    }
  }
  if (reuses_) {
    tokens.add_(tensor(others));
    step.enhance.reuse(step.branch, 1);
    return;
  }
  const auto after_first = tokens.clone();
  rest();
  tensor(others) = tokens - after_first;
}

}  // namespace eav
