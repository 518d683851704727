#include "nn/attention.h"

#include <utility>

namespace eav {
namespace {

// The gain is measured on the video's tokens: [B, heads, T*S, d].
Gain gain(const Tensor& q, const Tensor& k, const VideoLayer& video) {
  const auto grid = video.step.grid;
  const auto tokens = [&](const Tensor& x) { return x.narrow(2, video.first_token, grid.tokens()); };
  return video.step.enhance.gain(video.layer, tokens(q), tokens(k), grid);
}

// Attends within parts of each video: `apart` gives [parts, heads, their tokens, d] of one video's [heads, T*S, d].
template <class Apart>
Tensor attend_apart(const Tensor& q, const Tensor& k, const Tensor& v, const Apart& apart) {
  const auto attended = at::empty_like(q);
  for (int64_t b = 0; b < q.size(0); ++b) apart(attended[b]).copy_(attend(apart(q[b]), apart(k[b]), apart(v[b])));
  return attended;
}

}  // namespace

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Scores& scores) {
  if (q.is_meta()) {  // the result lies as the library leaves it, which packs keys and values in 16-bit arithmetic
    const bool packs = q.scalar_type() != at::kFloat;
    const auto packed = packs ? std::pair(at::empty_like(k), at::empty_like(v)) : std::pair<Tensor, Tensor>();
    return at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
  }
  return at::scaled_dot_product_attention(q, k, v, scores.bias, /*dropout_p=*/0, scores.causal, scores.scale,
                                          /*enable_gqa=*/k.size(1) != q.size(1));
}

Attended attend(const Tensor& q, const Tensor& k, const Tensor& v, const VideoLayer& video) {
  auto measured = gain(q, k, video);
  return {attend(q, k, v), std::move(measured)};
}

Tensor attend_in_frames(const Tensor& q, const Tensor& k, const Tensor& v, Grid grid) {
  return attend_apart(q, k, v, [&](const Tensor& x) {
    return x.unflatten(1, {grid.frames, grid.positions}).transpose(0, 1);  // [T, heads, S, d]
  });
}

Attended attend_over_time(const Tensor& q, const Tensor& k, const Tensor& v, const VideoLayer& video) {
  const auto grid = video.step.grid;
  auto measured = gain(q, k, video);
  auto attended = attend_apart(q, k, v, [&](const Tensor& x) {
    return x.unflatten(1, {grid.frames, grid.positions}).permute({2, 0, 1, 3});  // [S, heads, T, d]
  });
  return {std::move(attended), std::move(measured)};
}

}  // namespace eav
