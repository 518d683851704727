#include "vae/tiling.h"

#include <algorithm>
#include <map>
#include <vector>

namespace eav {

Tiling Tiling::of_pixels(int64_t size, int64_t stride, int64_t compression) {
  return {
      .latent_size = size / compression, .latent_stride = stride / compression, .keep = stride, .blend = size - stride};
}

// A part that begins with the last frame would show nothing new.
int64_t Tiling::parts(int64_t latent_frames) const {
  return latent_frames <= latent_size ? 1 : tiles(latent_frames - 1);
}

Tiling encoding(const Tiling& decoding) {
  return {.latent_size = decoding.keep + decoding.blend,
          .latent_stride = decoding.keep,
          .keep = decoding.latent_stride,
          .blend = decoding.latent_size - decoding.latent_stride};
}

bool TileGrid::cuts(int64_t latent_height, int64_t latent_width) const {
  return latent_height > rows.longest_whole || latent_width > columns.longest_whole;
}

int64_t TileGrid::tiles(int64_t latent_height, int64_t latent_width) const {
  return cuts(latent_height, latent_width) ? rows.tiles(latent_height) * columns.tiles(latent_width) : 1;
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

namespace {

int64_t size_of_tile(const Tiling& tiling, int64_t length, int64_t i) {
  return std::min(tiling.latent_size, length - i * tiling.latent_stride);
}

// The numbers of tiles along one axis that are the last of their size.
std::vector<int64_t> last_of_each_size(const Tiling& tiling, int64_t length) {
  std::vector<int64_t> last;
  for (int64_t i = 0, n = tiling.tiles(length); i < n; ++i)
    if (i + 1 == n || size_of_tile(tiling, length, i) != size_of_tile(tiling, length, i + 1)) last.push_back(i);
  return last;
}

// The pixels of so many latent ones, where the first tile of `length` latent pixels gives `one`.
int64_t coded(int64_t latent, const Tiling& tiling, int64_t length, int64_t one) {
  return latent * one / std::min(length, tiling.latent_size);
}

// The pixels that all tiles along an axis give to the result.
int64_t kept(const Tiling& tiling, int64_t length, int64_t one) {
  int64_t sum = 0;
  for (int64_t i = 0; i < tiling.tiles(length); ++i)
    sum += std::min(tiling.keep, coded(size_of_tile(tiling, length, i), tiling, length, one));
  return sum;
}

// What the tiles make together, of which the first has the shape `one`.
Tensor empty_whole(const Tensor& z, const TileGrid& grid, at::IntArrayRef one) {
  const auto height = kept(grid.rows, z.size(1), one[1]), width = kept(grid.columns, z.size(2), one[2]);
  return at::empty({one[0], height, width, one[3]}, z.options());
}

// Of a plan: the last tile of each shape, which is decoded while more of the others is kept than before.
Tensor in_planned_tiles(const Tensor& z, const TileGrid& grid, const Decode& decode) {
  const auto &rows = grid.rows, &columns = grid.columns;
  const auto tile = [&](int64_t height, int64_t width) {
    return decode(z.slice(1, 0, height).slice(2, 0, width).contiguous());
  };
  const auto one = tile(rows.latent_size, columns.latent_size).sizes().vec();
  const auto row_of_tiles = [&](int64_t latent_height, int64_t tiles) {
    return at::empty({one[0], coded(latent_height, rows, z.size(1), one[1]), tiles * one[2], one[3]}, z.options());
  };
  auto whole = empty_whole(z, grid, one);
  for (const auto i : last_of_each_size(rows, z.size(1))) {
    const auto above = i > 0 ? row_of_tiles(size_of_tile(rows, z.size(1), i - 1), columns.tiles(z.size(2))) : Tensor();
    const auto height = size_of_tile(rows, z.size(1), i);
    for (const auto j : last_of_each_size(columns, z.size(2))) {
      const auto beside = row_of_tiles(height, j);
      tile(height, size_of_tile(columns, z.size(2), j));
    }
  }
  return whole;
}

}  // namespace

Tensor in_tiles(const Tensor& z, const std::optional<TileGrid>& grid, const Decode& decode) {
  if (!grid || !grid->cuts(z.size(1), z.size(2))) return decode(z);
  if (z.is_meta()) return in_planned_tiles(z, *grid, decode);
  const auto &rows = grid->rows, &columns = grid->columns;
  Tensor whole;
  std::vector<Tensor> above;  // tiles of the row above
  int64_t y = 0;              // where the row begins in the whole
  for (int64_t i = 0; i < rows.tiles(z.size(1)); ++i) {
    std::vector<Tensor> tiles;
    int64_t x = 0;
    for (int64_t j = 0; j < columns.tiles(z.size(2)); ++j) {
      const auto top = i * rows.latent_stride, left = j * columns.latent_stride;
      tiles.push_back(
          decode(z.slice(1, top, top + rows.latent_size).slice(2, left, left + columns.latent_size).contiguous()));
      // Tiles above and to the left are blended already, and so is what they fade into this one.
      if (i > 0) blend(above[j], tiles[j], 1, rows.blend);
      if (j > 0) blend(tiles[j - 1], tiles[j], 2, columns.blend);
      if (!whole.defined()) whole = empty_whole(z, *grid, tiles[0].sizes());
      const auto given = tiles[j].slice(1, 0, rows.keep).slice(2, 0, columns.keep);
      whole.narrow(1, y, given.size(1)).narrow(2, x, given.size(2)).copy_(given);
      x += given.size(2);
    }
    y += std::min(tiles[0].size(1), rows.keep);
    above = std::move(tiles);
  }
  return whole;
}

namespace {

// Of a plan: parts of one shape take as much memory as each other, since nothing of them is kept.
Decode each_shape_once(const Decode& decode) {
  return [&decode, known = std::map<std::vector<int64_t>, std::vector<int64_t>>()](const Tensor& z) mutable {
    const auto found = known.find(z.sizes().vec());
    if (found != known.end()) return at::empty(found->second, z.options());
    auto decoded = decode(z);
    known.emplace(z.sizes().vec(), decoded.sizes().vec());
    return decoded;
  };
}

}  // namespace

void in_parts(const Tensor& z, const std::optional<Tiling>& tiling, DropFrame drop, const Tensor& video,
              const Decode& decode) {
  const auto frames = z.size(0), parts = tiling ? tiling->parts(frames) : 1;
  if (parts == 1) return void(video.copy_(decode(z)));
  const auto decode_part = z.is_meta() ? each_shape_once(decode) : decode;
  int64_t begin = 0;  // in the video
  for (int64_t i = 0; i < parts; ++i) {
    const auto first = i * tiling->latent_stride;
    auto part = decode_part(z.slice(0, first, first + tiling->latent_size + 1));
    if (i > 0) {
      part = part.narrow(0, drop == DropFrame::kFirst ? 1 : 0, part.size(0) - 1);
      blend(video.slice(0, begin, begin + tiling->blend), part, 0, tiling->blend);  // with the end of the part before
    }
    video.slice(0, begin, begin + part.size(0)).copy_(part);
    begin += tiling->keep + (i == 0 ? 1 : 0);
  }
}

}  // namespace eav
