// Patches of latents: the tokens of a video transformer.
#pragma once
#include <ATen/ATen.h>

#include <array>

namespace eav {
using at::Tensor;

// Latent frames, rows and columns that make a token.
using PatchSize = std::array<int64_t, 3>;

// latents [1, C, F, h, w] -> [1, T*S, C*p_t*p_h*p_w], what a kernel of a convolution [out, C, p_t, p_h, p_w] is
// multiplied with (nn/linear.h's of_patches).
inline Tensor patchify(const Tensor& latents, const PatchSize& p) {
  return latents.unflatten(4, {-1, p[2]})
      .unflatten(3, {-1, p[1]})
      .unflatten(2, {-1, p[0]})  // [1, C, T, p_t, h/p_h, p_h, w/p_w, p_w]
      .permute({0, 2, 4, 6, 1, 3, 5, 7})
      .flatten(4)
      .flatten(1, 3);
}

}  // namespace eav
