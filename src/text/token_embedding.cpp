#include "text/token_embedding.h"

#include <fmt/format.h>

#include "eav/error.h"

namespace eav {

Tensor TokenEmbedding::operator()(const Tensor& ids, at::ScalarType compute) const {
  if (const auto largest = ids.max().item<int64_t>(); largest >= weight.size(0))
    throw Error(fmt::format("the prompt holds a special token (id {}) that the text encoder's vocabulary of {} lacks",
                            largest, weight.size(0)));
  return at::embedding(weight, ids.to(weight.device())).to(compute);
}

}  // namespace eav
