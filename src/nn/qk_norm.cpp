#include "nn/qk_norm.h"

#include <ATen/Parallel.h>

#include <cstddef>

#include "base/meta_memory.h"
#include "kernels/qk_norm.h"

namespace eav {
namespace {

constexpr int64_t kGrain = 64;  // tokens that a thread takes at least

// x [B, L, heads, count], in one pass over memory: each head is normed, and those of the first tokens are turned.
void norm_and_rotate(const Tensor& x, const RmsNorm& norm, const Rope* rope) {
  const auto weight = norm.weight.to(at::kFloat).contiguous();
  if (x.is_meta()) return;
  const auto tokens = x.size(1), heads = x.size(2), count = x.size(3);
  const auto d = rope != nullptr ? rope->cos.size(1) : count, turned = rope != nullptr ? rope->cos.size(0) : 0;
  const auto* cos = rope != nullptr ? rope->cos.const_data_ptr<float>() : nullptr;
  const auto* sin = rope != nullptr ? rope->sin.const_data_ptr<float>() : nullptr;
  auto* data = static_cast<std::byte*>(x.mutable_data_ptr());
  const auto bytes = heads * count * x.element_size();  // of a token
  at::parallel_for(0, x.size(0) * tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto token = row % tokens;
      const bool turns = token < turned;
      norm_and_rotate(data + row * bytes, *element_of(x.scalar_type()), heads, count, weight.const_data_ptr<float>(),
                      norm.eps, {turns ? cos + token * d : nullptr, turns ? sin + token * d : nullptr, d});
    }
  });
}

}  // namespace

void QkNorm::operator()(const Tensor& x, const Rope* rope) const {
  if (kernels_take(x) && x.size(3) % 2 == 0) return norm_and_rotate(x, norm, rope);
  x.copy_(norm(x));
  if (rope != nullptr) (*rope)(x.slice(1, 0, rope->cos.size(0)));
}

void QkNormAcrossHeads::operator()(const Tensor& x, const Rope* rope) const {
  if (kernels_take(x)) return norm_and_rotate(x.unsqueeze(2), norm, rope);
  const auto wide = x.to(at::kFloat);
  const auto normed = wide * inverse_rms(wide, norm.eps) * norm.weight.to(at::kFloat);
  if (rope != nullptr) (*rope)(normed.unflatten(2, {-1, rope->cos.size(1)}));
  x.copy_(normed);
}

}  // namespace eav
