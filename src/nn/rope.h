// Rotary position embedding of a video grid.
#pragma once
#include <ATen/ATen.h>

namespace eav {
using at::Tensor;

// Cosines and sines of each token's angles, every one twice in a row: [tokens, d] float32.
struct Rope {
  Tensor cos, sin;

  // Rotates x [B, tokens, heads, d] in place; neighbours (2i, 2i+1) of the last dimension form a pair.
  void operator()(const Tensor& x) const;
};

// One axis: positions [n] -> [n, dim] (diffusers' get_1d_rotary_pos_embed, use_real). Angles are computed in the type
// of the positions, float32 or float64.
Rope rope_1d(int64_t dim, const Tensor& positions, double theta);

// A video grid (diffusers' get_3d_rotary_pos_embed): each axis has its positions and its share of a head's channels;
// tokens run frame by frame, row by row.
struct RopeAxis {
  int64_t dim;
  Tensor positions;
};
Rope rope_3d(const RopeAxis& frames, const RopeAxis& rows, const RopeAxis& columns, double theta);

}  // namespace eav
