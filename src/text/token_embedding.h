// The first layer of a text encoder: a vector for each token of its vocabulary.
#pragma once
#include <ATen/ATen.h>

#include "weights/matrix.h"

namespace eav {

class TokenEmbedding {
 public:
  TokenEmbedding(const Weights& w, int64_t vocabulary, int64_t channels) : weight_(w, vocabulary, channels) {}

  // ids [B, L] -> [B, L, C] in the type `compute`. Throws eav::Error when an id is outside the vocabulary.
  Tensor operator()(const Tensor& ids, at::ScalarType compute) const;

 private:
  Matrix weight_;  // [vocabulary, C]
};

}  // namespace eav
