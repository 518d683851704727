#include "nn/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "kernels/attention.h"

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

struct Range {
  int64_t first, count;
};

// The keys that a mask of one video shows, [L], where they are neighbours.
std::optional<Range> seen_keys(const Tensor& mask) {
  const auto seen = mask.contiguous();
  const auto* begin = seen.const_data_ptr<bool>();
  const auto* end = begin + seen.numel();
  const auto* first = std::find(begin, end, true);
  const auto* last = std::find(first, end, false);
  if (first == end || std::find(last, end, true) != end) return std::nullopt;
  return Range{first - begin, last - first};
}

// The keys of each video, or of all of them; none where the kernel does not serve such queries, keys and scores.
std::vector<Range> keys_for_kernel(const Tensor& q, const Tensor& k, const Tensor& v, const Scores& scores) {
  const auto dense = [](const Tensor& x) { return x.is_cpu() && x.scalar_type() == at::kBFloat16 && x.stride(3) == 1; };
  if (!dense(q) || !dense(k) || !dense(v) || scores.causal || k.size(2) == 0 || v.size(3) != q.size(3)) return {};
  if (!attention_kernel_takes(q.size(3)) || !attention_kernel_works()) return {};
  if (!scores.bias) return {{0, k.size(2)}};
  const auto& mask = *scores.bias;
  if (mask.scalar_type() != at::kBool || mask.dim() != 4 || mask.size(1) != 1 || mask.size(2) != 1) return {};
  std::vector<Range> of_each;
  for (int64_t b = 0; b < q.size(0); ++b)
    if (const auto seen = seen_keys(mask[mask.size(0) == 1 ? 0 : b][0][0].expand({k.size(2)})))
      of_each.push_back(*seen);
    else
      return {};
  return of_each;
}

Tensor attend_with_kernel(const Tensor& q, const Tensor& k, const Tensor& v, double scale,
                          const std::vector<Range>& keys) {
  const auto strides = [](const Tensor& x) { return HeadStrides{x.stride(0), x.stride(1), x.stride(2)}; };
  const auto out = at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
  const bool apart = keys.size() > 1;  // each video by itself
  for (size_t i = 0; i < keys.size(); ++i) {
    const auto part = [&](const Tensor& x) { return apart ? x.narrow(0, static_cast<int64_t>(i), 1) : x; };
    const auto seen = [&](const Tensor& x) { return part(x).narrow(2, keys[i].first, keys[i].count); };
    const auto queries = part(q), their_keys = seen(k), values = seen(v), to = part(out);
    attention({.batch = queries.size(0),
               .heads = q.size(1),
               .queries = q.size(2),
               .keys = keys[i].count,
               .head_size = q.size(3),
               .sharing = q.size(1) / k.size(1),
               .scale = static_cast<float>(scale),
               .q = queries.const_data_ptr<at::BFloat16>(),
               .k = their_keys.const_data_ptr<at::BFloat16>(),
               .v = values.const_data_ptr<at::BFloat16>(),
               .out = to.mutable_data_ptr<at::BFloat16>(),
               .q_strides = strides(queries),
               .k_strides = strides(their_keys),
               .v_strides = strides(values),
               .out_strides = strides(to)});
  }
  return out;
}

}  // namespace

Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Scores& scores) {
  if (q.is_meta()) {  // the result lies as the library leaves it, which packs keys and values in 16-bit arithmetic
    const bool packs = q.scalar_type() != at::kFloat;
    const auto packed = packs ? std::pair(at::empty_like(k), at::empty_like(v)) : std::pair<Tensor, Tensor>();
    return at::empty({q.size(0), q.size(2), q.size(1), v.size(3)}, q.options()).transpose(1, 2);
  }
  if (const auto keys = keys_for_kernel(q, k, v, scores); !keys.empty())
    return attend_with_kernel(q, k, v, scores.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3)))), keys);
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
