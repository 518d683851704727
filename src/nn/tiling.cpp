#include "nn/tiling.h"

#include <algorithm>
#include <vector>

namespace eav {

Tiling encoding(const Tiling& decoding) {
  return {.latent_size = decoding.keep + decoding.blend,
          .latent_stride = decoding.keep,
          .keep = decoding.latent_stride,
          .blend = decoding.latent_size - decoding.latent_stride};
}

void blend(const Tensor& before, const Tensor& tile, int64_t dim, int64_t extent) {
  extent = std::min({before.size(dim), tile.size(dim), extent});
  if (extent == 0) return;
  std::vector<int64_t> shape(tile.dim(), 1);
  shape[dim] = extent;
  const auto fade = at::arange(extent, at::kDouble).div_(static_cast<double>(extent)).view(shape);
  auto begin = tile.narrow(dim, 0, extent);
  begin.mul_(fade.to(tile.options()));
  begin.addcmul_(before.narrow(dim, before.size(dim) - extent, extent), (1 - fade).to(tile.options()));
}

Tensor in_tiles(const Tensor& z, const Tiling& rows, const Tiling& columns,
                const std::function<Tensor(const Tensor&)>& decode) {
  std::vector<Tensor> above, bands;  // tiles of the row above; finished rows
  for (int64_t i = 0; i < rows.tiles(z.size(1)); ++i) {
    std::vector<Tensor> tiles, kept;
    for (int64_t j = 0; j < columns.tiles(z.size(2)); ++j) {
      const auto top = i * rows.latent_stride, left = j * columns.latent_stride;
      tiles.push_back(
          decode(z.slice(1, top, top + rows.latent_size).slice(2, left, left + columns.latent_size).contiguous()));
      // Tiles above and to the left are blended already, and so is what they fade into this one.
      if (i > 0) blend(above[j], tiles[j], 1, rows.blend);
      if (j > 0) blend(tiles[j - 1], tiles[j], 2, columns.blend);
      kept.push_back(tiles[j].slice(1, 0, rows.keep).slice(2, 0, columns.keep));
    }
    bands.push_back(at::cat(kept, 2));
    above = std::move(tiles);
  }
  return at::cat(bands, 1);
}

}  // namespace eav
