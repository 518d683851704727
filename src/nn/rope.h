// Rotary position embedding of a video grid.
#pragma once
#include <ATen/ATen.h>

namespace eav {
using at::Tensor;

// Cosines and sines of each token's angles, every one twice in a row: [tokens, d] float32.
struct Rope {
  Tensor cos, sin;

  // Rotates x [B, tokens, heads, d] in place; neighbours (2i, 2i+1) of the last dimension form a pair.
  void operator()(Tensor x) const;
};

// One axis: positions [n] -> [n, dim] (diffusers' get_1d_rotary_pos_embed, use_real, theta 10000).
Rope rope_1d(int64_t dim, const Tensor& positions);

// Frames take a quarter of the head size, rows and columns three eighths each (diffusers' get_3d_rotary_pos_embed);
// every argument holds the positions along one axis, and tokens run frame by frame, row by row.
Rope rope_3d(int64_t head_dim, const Tensor& frames, const Tensor& rows, const Tensor& columns);

}  // namespace eav
