// Embeddings of timesteps and positions by sines and cosines, as diffusers computes them (models/embeddings.py).
#pragma once
#include <ATen/ATen.h>

#include <utility>

#include "nn/linear.h"

namespace eav {

// Sinusoids of a timestep: [n] -> [n, channels] float32; sines first unless `flip_sin_to_cos`.
Tensor timestep_sinusoids(const Tensor& timesteps, int64_t channels, bool flip_sin_to_cos, double freq_shift);

// Two linear layers with SiLU between.
struct TimestepEmbedding {
  Linear linear_1, linear_2;
  TimestepEmbedding(const Weights& w, int64_t in, int64_t out)
      : linear_1(w / "linear_1", in, out), linear_2(w / "linear_2", out, out) {}
  TimestepEmbedding(Linear linear_1, Linear linear_2) : linear_1(std::move(linear_1)), linear_2(std::move(linear_2)) {}
  Tensor operator()(const Tensor& x) const { return linear_2(at::silu(linear_1(x))); }
};

// Sine-cosine embedding of positions [n] along an axis: [n, channels] float64, sines first.
Tensor sincos_positions_1d(int64_t channels, const Tensor& positions);

// Sine-cosine position embedding of a video grid: [T * height * width, channels] float64. A quarter of the channels
// holds the frame, the rest the column and the row. Computed on `device`.
Tensor sincos_positions_3d(int64_t channels, int64_t frames, int64_t height, int64_t width, double spatial_scale,
                           double temporal_scale, at::Device device);

}  // namespace eav
