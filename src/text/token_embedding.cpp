#include "text/token_embedding.h"

#include <fmt/format.h>

#include "eav/error.h"

namespace eav {

Tensor TokenEmbedding::operator()(const Tensor& ids, at::ScalarType compute) const {
  if (ids.is_meta()) return weight_.look_up(ids, compute);
  if (const auto largest = ids.max().item<int64_t>(); largest >= weight_.rows())
    throw Error(fmt::format("the prompt holds a special token (id {}) that the text encoder's vocabulary of {} lacks",
                            largest, weight_.rows()));
  return weight_.look_up(ids, compute);
}

}  // namespace eav
