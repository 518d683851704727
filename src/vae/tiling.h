// Coding what is too large to be coded at once: in overlapping tiles of pictures and parts of time, which are blended.
#pragma once
#include <ATen/ATen.h>

#include <functional>
#include <optional>

namespace eav {

using at::Tensor;

// The tiles along one axis.
struct Tiling {
  int64_t latent_size, latent_stride;   // of a tile, in latent pixels
  int64_t keep;                         // pixels that a tile gives to the result; the rest is blended into the next
  int64_t blend;                        // pixels of overlap
  int64_t longest_whole = latent_size;  // in latent pixels: what is longer is cut

  // Tiles of `size` pixels, `stride` from one to the next, where a latent pixel stands for `compression`.
  static Tiling of_pixels(int64_t size, int64_t stride, int64_t compression);

  int64_t tiles(int64_t latent_length) const { return (latent_length + latent_stride - 1) / latent_stride; }
  // Parts that in_parts() makes of so many latent frames.
  int64_t parts(int64_t latent_frames) const;
};

// The tiles of pixels that an encoder makes the tiles of latents `decoding` of.
Tiling encoding(const Tiling& decoding);

// The tiles of pictures.
struct TileGrid {
  Tiling rows, columns;

  bool cuts(int64_t latent_height, int64_t latent_width) const;
  int64_t tiles(int64_t latent_height, int64_t latent_width) const;  // 1 where it does not cut
};
inline TileGrid encoding(const TileGrid& decoding) { return {encoding(decoding.rows), encoding(decoding.columns)}; }

// Fades the end of `before` into the beginning of `tile`, along dimension `dim`, in place.
void blend(const Tensor& before, const Tensor& tile, int64_t dim, int64_t extent);

// z [F, h, w, Cz] -> [T, H, W, C], where `decode` does the same for a tile; from pixels to latents with the tiles of
// encoding(). Without a grid, or where it does not cut, the picture is one tile.
using Decode = std::function<Tensor(const Tensor& z)>;
Tensor in_tiles(const Tensor& z, const std::optional<TileGrid>& grid, const Decode& decode);

// Codes z in parts of time, of `tiling.latent_size` frames and one more, into `video`, whose axis of time is its
// first. Of every part but the first, a frame is dropped: where it is the first, the part before has shown it.
enum class DropFrame { kFirst, kLast };
void in_parts(const Tensor& z, const std::optional<Tiling>& tiling, DropFrame drop, const Tensor& video,
              const Decode& decode);

}  // namespace eav
