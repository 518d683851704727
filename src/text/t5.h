// The encoder of T5, a text-to-text transformer (Raffel et al., 2019; v1.1 with gated feed-forward layers), and of UMT5
// (Chung et al., arXiv 2304.09151).
#pragma once
#include <ATen/ATen.h>

#include <filesystem>
#include <optional>
#include <vector>

#include "eav/progress.h"
#include "nn/linear.h"
#include "nn/rms_norm.h"
#include "text/prompt.h"
#include "text/token_embedding.h"
#include "weights/blocks.h"
#include "weights/config.h"
#include "weights/matrix.h"
#include "weights/part.h"

namespace eav {

struct T5Config {
  enum class Activation { relu, gelu, gelu_tanh, silu };

  int64_t channels;  // of a token: C
  int64_t head_dim;  // d; heads * d need not be C
  int64_t heads;
  int64_t hidden;  // channels inside a feed-forward layer
  int64_t layers;
  int64_t vocabulary;    // rows of the embedding
  int64_t buckets;       // kinds of distances between two tokens, half of them for each direction
  int64_t max_distance;  // in tokens; from here on all distances are of one kind
  double norm_eps;
  Activation activation;
  bool gated;  // the activation multiplies a second projection
  bool umt5;   // every block has position biases of its own, and not all those of the first

  explicit T5Config(const JsonFile& json);
};

// What the distance of two tokens adds to their attention score, per head.
struct T5PositionBias {
  Matrix table;  // [buckets, heads]
  int64_t buckets, max_distance;
  T5PositionBias(const Weights& w, const T5Config& c)
      : table(w, c.buckets, c.heads), buckets(c.buckets), max_distance(c.max_distance) {}

  Tensor operator()(int64_t length, at::ScalarType compute) const;  // [1, heads, L, L]
};

struct T5Attention {
  int64_t heads;
  Linear q, k, v, o;
  T5Attention(const Weights& w, const T5Config& c);

  Tensor operator()(const Tensor& x, const Tensor& bias) const;
};

struct T5FeedForward {
  T5Config::Activation activation;
  Linear in;
  std::optional<Linear> gate;
  Linear out;
  T5FeedForward(const Weights& w, const T5Config& c);

  Tensor operator()(const Tensor& x) const;
};

struct T5Block {
  RmsNorm norm1, norm2;
  std::optional<T5PositionBias> position_bias;  // of UMT5
  T5Attention attention;
  T5FeedForward feed_forward;
  T5Block(const Weights& w, const T5Config& c);

  Tensor operator()(Tensor x, const Tensor& bias, at::ScalarType compute) const;
};

struct T5Encoder {
  TokenEmbedding embedding;
  std::optional<T5PositionBias> position_bias;  // of T5, for all blocks
  Blocks<T5Block> blocks;
  RmsNorm norm;
  T5Encoder(const Weights& w, const T5Config& c);

  // Throws eav::Error where the configuration does not serve.
  static Part<T5Encoder> part(const PartSource& source);
  // What T5 checkpoints hold besides the encoder.
  static std::vector<UnneededKey> unneeded_keys();

  // ids [B, L] -> [B, L, C] in the type `compute`. `mask` [B, L] is true for tokens that are attended to; without it
  // all are, padding too. Throws eav::Error when an id is outside the vocabulary.
  Tensor operator()(const Tensor& ids, const std::optional<Tensor>& mask, at::ScalarType compute,
                    const Progress& progress) const;
};

// The embeddings of a prompt's own tokens, with zeros in place of those of its padding: [1, L, C]. Tokens of a prompt
// see no padding, so none is encoded.
Tensor encode_without_padding(const T5Encoder& encoder, const Prompt& prompt, at::ScalarType compute,
                              const Progress& progress);

}  // namespace eav
