#include "vae/norm.h"

#include "nn/rms_norm.h"

namespace eav {

NormedSilu GroupNormSilu::operator()(const Frames& x) const {
  const auto affine = norm(x);
  const auto scale = affine.first.view({1, 1, -1}), shift = affine.second.view({1, 1, -1});  // [1, 1, C]
  return [=](int64_t, const Tensor& frame, const Tensor& out) { modulate_silu(frame, scale, shift, out); };
}

NormedSilu RmsNormSilu::operator()(const Frames&, const std::optional<ChannelAffine>& affine) const {
  return [eps = eps, affine](int64_t, const Tensor& frame, Tensor out) {
    at::mul_out(out, frame, inverse_rms(frame, eps));
    if (affine) at::addcmul_out(out, affine->shift, out, affine->scale);
    at::silu_(out);
  };
}

}  // namespace eav
