#include "nn/qk_norm.h"

#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "base/meta_memory.h"
#include "kernels/qk_norm.h"

namespace eav {
namespace {
constexpr int64_t kGrain = 64;  // tokens that a thread takes at least
}  // namespace

void QkNorm::operator()(const Tensor& x, const Rope* rope) const {
  const auto tokens = x.size(1), heads = x.size(2), d = x.size(3);
  if (!is_for_cpu(x) || x.scalar_type() != at::kFloat || !x.is_contiguous() || d % 2 != 0) {
    x.copy_(norm(x));
    if (rope != nullptr) (*rope)(x.slice(1, 0, rope->cos.size(0)));
    return;
  }
  const auto weight = norm.weight.to(at::kFloat).contiguous();
  if (x.is_meta()) return;
  const auto* w = weight.const_data_ptr<float>();
  const auto* cos = rope != nullptr ? rope->cos.const_data_ptr<float>() : nullptr;
  const auto* sin = rope != nullptr ? rope->sin.const_data_ptr<float>() : nullptr;
  const auto rotated = rope != nullptr ? rope->cos.size(0) : 0;
  auto* data = x.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0) * tokens, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const auto token = row % tokens;
      const bool turns = token < rotated;
      norm_and_rotate(data + row * heads * d, heads, d, w, norm.eps,
                      {turns ? cos + token * d : nullptr, turns ? sin + token * d : nullptr, d});
    }
  });
}

void QkNormAcrossHeads::operator()(const Tensor& x, const Rope* rope) const {
  const auto tokens = x.size(1), channels = x.size(2);
  if (!is_for_cpu(x) || !x.is_contiguous()) {
    const auto wide = x.to(at::kFloat);
    x.copy_(wide * inverse_rms(wide, norm.eps) * norm.weight.to(at::kFloat));
    if (rope != nullptr) (*rope)(x.unflatten(2, {-1, rope->cos.size(1)}));
    return;
  }
  const auto weight = norm.weight.to(at::kFloat).contiguous();
  if (x.is_meta()) return;
  const auto d = rope != nullptr ? rope->cos.size(1) : channels;
  const auto* w = weight.const_data_ptr<float>();
  const auto* cos = rope != nullptr ? rope->cos.const_data_ptr<float>() : nullptr;
  const auto* sin = rope != nullptr ? rope->sin.const_data_ptr<float>() : nullptr;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kBFloat16, at::kHalf, x.scalar_type(), "QkNormAcrossHeads", [&] {
    auto* data = x.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, x.size(0) * tokens, kGrain, [&](int64_t begin, int64_t end) {
      std::vector<float> wide(static_cast<size_t>(channels));
      for (int64_t row = begin; row < end; ++row) {
        auto* token = data + row * channels;
        const auto angles = row % tokens * d;
        std::copy_n(token, channels, wide.begin());
        norm_and_rotate(wide.data(), 1, channels, w, norm.eps,
                        {cos != nullptr ? cos + angles : nullptr, sin != nullptr ? sin + angles : nullptr, d});
        std::copy_n(wide.begin(), channels, token);
      }
    });
  });
}

}  // namespace eav
