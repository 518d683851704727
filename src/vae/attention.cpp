#include "vae/attention.h"

#include <iterator>
#include <utility>

#include "nn/attention.h"

namespace eav {

CausalFrameAttention::CausalFrameAttention(const Weights& w, int64_t channels, int64_t groups, double eps)
    : group_norm(w / "group_norm", channels, groups, eps),
      to_q(w / "to_q", channels, channels),
      to_k(w / "to_k", channels, channels),
      to_v(w / "to_v", channels, channels),
      to_out(w / "to_out" / 0, channels, channels) {}

Frames CausalFrameAttention::operator()(Frames x) const {
  const auto frames = std::ssize(x), positions = positions_of(x[0]), channels = x[0].size(2);
  const auto affine = group_norm(x);
  const auto scale = affine.first.to(x[0].scalar_type()), shift = affine.second.to(x[0].scalar_type());  // [C]
  const auto keys = at::empty({frames, positions, channels}, x[0].options()), values = at::empty_like(keys);
  const auto head = [&](const Tensor& t) { return t.view({1, 1, -1, channels}); };
  for (int64_t t = 0; t < frames; ++t) {
    const auto normed = at::addcmul(shift, x[t].flatten(0, 1), scale);  // [S, C]
    auto key = keys[t], value = values[t];
    to_k.into(key, normed);
    to_v.into(value, normed);
    const auto seen =
        attend(head(to_q(normed)), head(keys.slice(0, 0, t + 1)), head(values.slice(0, 0, t + 1)));  // [1, 1, S, C]
    x[t].add_(to_out(seen.view_as(x[t])));
  }
  return x;
}

Frames MidBlock::operator()(Frames x, Pass& pass) const {
  pass.progress.check();
  x = first(std::move(x), pass);
  pass.progress.check();
  if (attention) x = (*attention)(std::move(x));
  pass.progress.check();
  return second(std::move(x), pass);
}

MidBlock read_mid_block(const Weights& w, int64_t channels, int64_t groups, double eps, bool has_attention,
                        const std::function<ResnetBlock<GroupNormSilu>(const Weights& w)>& resnet) {
  MidBlock block{resnet(w / "resnets" / 0), {}, resnet(w / "resnets" / 1)};
  if (has_attention) block.attention.emplace(w / "attentions" / 0, channels, groups, eps);
  return block;
}

}  // namespace eav
