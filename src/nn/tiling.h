// Decoding, or encoding, what is too large to be decoded at once: in overlapping tiles, which are blended.
#pragma once
#include <ATen/ATen.h>

#include <functional>

namespace eav {

using at::Tensor;

// The tiles along one axis.
struct Tiling {
  int64_t latent_size, latent_stride;  // of a tile, in latent pixels
  int64_t keep;                        // pixels that a tile gives to the result; the rest is blended into the next
  int64_t blend;                       // pixels of overlap

  int64_t tiles(int64_t latent_length) const { return (latent_length + latent_stride - 1) / latent_stride; }
};

// The tiles of pixels that become these tiles of latents: the same, the other way round.
Tiling encoding(const Tiling& decoding);

// Fades the end of `before` into the beginning of `tile`, along dimension `dim`, in place.
void blend(const Tensor& before, const Tensor& tile, int64_t dim, int64_t extent);

// z [F, h, w, Cz] -> [T, H, W, C], where `decode` does the same for a tile; from pixels to latents with the tiles of
// encoding().
Tensor in_tiles(const Tensor& z, const Tiling& rows, const Tiling& columns,
                const std::function<Tensor(const Tensor&)>& decode);

}  // namespace eav
