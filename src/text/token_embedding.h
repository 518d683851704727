// The first layer of a text encoder: a vector for each token of its vocabulary.
#pragma once
#include <ATen/ATen.h>

#include "weights/weights.h"

namespace eav {

struct TokenEmbedding {
  Tensor weight;  // [vocabulary, C]

  TokenEmbedding(const Weights& w, int64_t vocabulary, int64_t channels)
      : weight(w.load("weight", {vocabulary, channels})) {}

  // ids [B, L] -> [B, L, C] in the type `compute`. Throws eav::Error when an id is outside the vocabulary.
  Tensor operator()(const Tensor& ids, at::ScalarType compute) const;
};

}  // namespace eav
