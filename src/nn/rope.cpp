#include "nn/rope.h"

namespace eav {

void Rope::operator()(const Tensor& x) const {
  const auto even = x.slice(-1, 0, c10::nullopt, 2), odd = x.slice(-1, 1, c10::nullopt, 2);  // [B, tokens, heads, d/2]
  const auto c = cos.slice(-1, 0, c10::nullopt, 2).unsqueeze(1), s = sin.slice(-1, 0, c10::nullopt, 2).unsqueeze(1);
  const auto real = even.to(at::kFloat) * c - odd.to(at::kFloat) * s;
  const auto imaginary = odd.to(at::kFloat) * c + even.to(at::kFloat) * s;
  even.copy_(real);
  odd.copy_(imaginary);
}

Rope rope_1d(int64_t dim, const Tensor& positions, double theta) {
  const auto exponent = at::arange(0, dim, 2, positions.options()) / dim;
  const auto angles = at::outer(positions, 1.0 / at::pow(theta, exponent));  // [n, dim/2]
  const auto twice = [](const Tensor& x) { return x.to(at::kFloat).repeat_interleave(2, 1); };
  return {twice(angles.cos()), twice(angles.sin())};
}

Rope rope_3d(const RopeAxis& frames, const RopeAxis& rows, const RopeAxis& columns, double theta) {
  const auto t = rope_1d(frames.dim, frames.positions, theta), h = rope_1d(rows.dim, rows.positions, theta),
             w = rope_1d(columns.dim, columns.positions, theta);
  const int64_t T = frames.positions.size(0), H = rows.positions.size(0), W = columns.positions.size(0);
  const auto combine = [&](const Tensor& a, const Tensor& b, const Tensor& c) {
    return at::cat({a.view({T, 1, 1, -1}).expand({T, H, W, -1}), b.view({1, H, 1, -1}).expand({T, H, W, -1}),
                    c.view({1, 1, W, -1}).expand({T, H, W, -1})},
                   -1)
        .flatten(0, 2);  // [T*H*W, d]
  };
  return {combine(t.cos, h.cos, w.cos), combine(t.sin, h.sin, w.sin)};
}

}  // namespace eav
