#include "nn/rope.h"

namespace eav {

void Rope::operator()(Tensor x) const {
  const auto even = x.slice(-1, 0, c10::nullopt, 2), odd = x.slice(-1, 1, c10::nullopt, 2);  // [B, tokens, heads, d/2]
  const auto c = cos.slice(-1, 0, c10::nullopt, 2).unsqueeze(1), s = sin.slice(-1, 0, c10::nullopt, 2).unsqueeze(1);
  const auto real = even.to(at::kFloat) * c - odd.to(at::kFloat) * s;
  const auto imaginary = odd.to(at::kFloat) * c + even.to(at::kFloat) * s;
  even.copy_(real);
  odd.copy_(imaginary);
}

Rope rope_1d(int64_t dim, const Tensor& positions) {
  const auto exponent = at::arange(0, dim, 2, positions.options().dtype(at::kFloat)) / dim;
  const auto angles = at::outer(positions, 1.0 / at::pow(10000, exponent));  // [n, dim/2]
  return {angles.cos().repeat_interleave(2, 1), angles.sin().repeat_interleave(2, 1)};
}

Rope rope_3d(int64_t head_dim, const Tensor& frames, const Tensor& rows, const Tensor& columns) {
  const auto t = rope_1d(head_dim / 4, frames), h = rope_1d(head_dim / 8 * 3, rows),
             w = rope_1d(head_dim / 8 * 3, columns);
  const int64_t T = frames.size(0), H = rows.size(0), W = columns.size(0);
  const auto combine = [&](const Tensor& a, const Tensor& b, const Tensor& c) {
    return at::cat({a.view({T, 1, 1, -1}).expand({T, H, W, -1}), b.view({1, H, 1, -1}).expand({T, H, W, -1}),
                    c.view({1, 1, W, -1}).expand({T, H, W, -1})},
                   -1)
        .flatten(0, 2);  // [T*H*W, d]
  };
  return {combine(t.cos, h.cos, w.cos), combine(t.sin, h.sin, w.sin)};
}

}  // namespace eav
