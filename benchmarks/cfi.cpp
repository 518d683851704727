// What the enhancement adds to one layer of a transformer.
#include "bench.h"
#include "enhance/enhancer.h"
#include "nn/attention.h"

namespace eav::bench {

std::function<void()> cfi(const Arguments& arguments) {
  const auto type = Arguments::type_of(arguments.at(0));
  const auto number = [&](size_t i) { return static_cast<int64_t>(std::stol(arguments.at(i))); };
  const auto heads = number(1), tokens = number(2), first = number(3), d = number(6);
  const Grid grid{number(4), number(5)};
  const auto of_video = [&] {
    return split_heads(at::randn({1, tokens, heads * d}).to(type), heads).narrow(2, first, grid.tokens());
  };
  const auto q = of_video(), k = of_video();
  return [=] {
    Enhancer enhancer({.weight = 3.4}, 1, 1);
    enhancer.begin_step(0);
    enhancer.gain(0, q, k, grid);
  };
}

}  // namespace eav::bench
