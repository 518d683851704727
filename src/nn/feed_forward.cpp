#include "nn/feed_forward.h"

namespace eav {

Tensor FeedForward::operator()(const Tensor& x) const {
  const auto hidden = [&](const Tensor& rows) {
    switch (activation) {
      case Activation::gelu_tanh:
        return in.gelu_tanh(rows);
      case Activation::gelu:
        return at::gelu(in(rows));
      case Activation::silu:
        return at::silu(in(rows));
    }
    TORCH_INTERNAL_ASSERT(false, "unknown activation");
  };
  auto result = at::empty_like(x);
  const auto rows = x.flatten(0, 1), results = result.flatten(0, 1);  // [B*L, C]
  for (int64_t begin = 0; begin < rows.size(0); begin += kRows) {
    auto to = results.slice(0, begin, begin + kRows);
    out.into(to, hidden(rows.slice(0, begin, begin + kRows)));
    if (x.is_meta()) break;  // of a plan: other rows take as much memory
  }
  return result;
}

}  // namespace eav
