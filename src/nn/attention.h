// Attention: the one place where queries meet keys and values. All are [B, heads, L, d], with any strides; keys and
// values may have fewer heads, each of which serves as many neighbouring heads of queries.
#pragma once
#include <ATen/ATen.h>

#include <optional>

#include "enhance/step.h"

namespace eav {

// A token's channels as those of its heads: [B, L, heads * d] -> [B, heads, L, d], and back.
inline Tensor split_heads(const Tensor& x, int64_t heads) { return x.unflatten(-1, {heads, -1}).transpose(1, 2); }
inline Tensor merge_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2); }

// What scores are before their softmax: q k^T * scale + bias.
struct Scores {
  std::optional<Tensor> bias{};   // shaped as they are, or of length 1; of type bool: whether a key is seen
  bool causal = false;            // a query sees the keys up to its own place
  std::optional<double> scale{};  // unset: 1 / sqrt(d)
};

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Scores& scores = {});

// A layer of a video transformer, as the enhancement knows it.
struct VideoLayer {
  int64_t layer;        // its number among those that can be enhanced
  Step& step;           // of whose grid the video's tokens are
  int64_t first_token;  // of the video, among all tokens; others stand before or after the grid
};

struct Attended {
  Tensor tokens;  // [B, heads, L, d]
  Gain gain;      // of the video's tokens, to be multiplied in after the output projection
};
Attended attend(const Tensor& q, const Tensor& k, const Tensor& v, const VideoLayer& video);

// Attention of a video's tokens alone, [B, heads, T*S, d], in one half of a factorised model: to the tokens of the same
// frame, or to those of the same position in all frames. Nothing but the result is copied.
Tensor attend_in_frames(const Tensor& q, const Tensor& k, const Tensor& v, Grid grid);
Attended attend_over_time(const Tensor& q, const Tensor& k, const Tensor& v, const VideoLayer& video);

}  // namespace eav
