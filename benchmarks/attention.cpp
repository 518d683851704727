// Attention alone, in bfloat16: the project's or ATen's.
#include "nn/attention.h"

#include "bench.h"

namespace eav::bench {

std::function<void()> attention(const Arguments& arguments) {
  const bool ours = arguments.at(0) == "kernel";
  const int64_t heads = std::stol(arguments.at(1)), queries = std::stol(arguments.at(2)),
                keys = std::stol(arguments.at(3)), d = std::stol(arguments.at(4));
  const auto of = [&](int64_t tokens) {
    return split_heads(at::randn({1, tokens, heads * d}).to(at::kBFloat16), heads);
  };
  const auto q = of(queries), k = of(keys), v = of(keys);
  return [=] { ours ? attend(q, k, v) : at::scaled_dot_product_attention(q, k, v); };
}

}  // namespace eav::bench
