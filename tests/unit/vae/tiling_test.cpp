// Tiles and parts of time of something that is the same everywhere, and how two of them fade into each other.
#include "vae/tiling.h"

#include <gtest/gtest.h>

namespace eav {
namespace {

// A decoder that sees one latent pixel at a time: whatever is cut, the result is that of the whole.
constexpr int64_t kSpace = 4, kTime = 2;
Tensor enlarged(const Tensor& z) { return z.repeat_interleave(kSpace, 1).repeat_interleave(kSpace, 2); }
Tensor enlarged_in_time(const Tensor& z) { return z.repeat_interleave(kTime, 0).slice(0, kTime - 1); }

double error(const Tensor& result, const Tensor& expected) {
  return result.sizes() == expected.sizes() ? (result - expected).abs().max().item<double>() : INFINITY;
}

TEST(InTiles, OfALocalDecoderIsTheWhole) {
  const TileGrid grid{.rows = Tiling::of_pixels(16, 12, kSpace), .columns = Tiling::of_pixels(20, 12, kSpace)};
  for (const auto& [height, width] : {std::pair{4, 5}, {5, 5}, {9, 3}, {11, 17}, {7, 8}}) {
    const auto z = at::randn({2, height, width, 3});
    int64_t decoded = 0;
    const auto decode = [&](const Tensor& tile) {
      ++decoded;
      EXPECT_LE(tile.size(1), grid.cuts(height, width) ? 4 : height);
      return enlarged(tile);
    };
    EXPECT_LT(error(in_tiles(z, grid, decode), enlarged(z)), 1e-6);
    EXPECT_EQ(decoded, grid.tiles(height, width));
    // The way back, from pixels to latents.
    const auto averaged = [](const Tensor& pixels) {
      return pixels.unflatten(1, {-1, kSpace}).unflatten(3, {-1, kSpace}).mean({2, 4});
    };
    EXPECT_LT(error(in_tiles(enlarged(z), encoding(grid), averaged), z), 1e-6);
  }
}

TEST(InParts, OfALocalDecoderIsTheWhole) {
  const auto tiling = Tiling::of_pixels(8, 6, kTime);  // 4 latent frames and one more, every 3
  for (const int64_t frames : {1, 4, 5, 6, 7, 8, 9, 12}) {
    const auto z = at::randn({frames, 3, 2, 2}), whole = enlarged_in_time(z), video = at::full_like(whole, NAN);
    int64_t decoded = 0;
    const auto decode = [&](const Tensor& part) {
      ++decoded;
      return enlarged_in_time(part);
    };
    in_parts(z, tiling, DropFrame::kFirst, video, decode);
    EXPECT_LT(error(video, whole), 1e-6) << frames;
    EXPECT_EQ(decoded, tiling.parts(frames));
    in_parts(z, std::nullopt, DropFrame::kFirst, video, enlarged_in_time);
    EXPECT_TRUE(at::equal(video, whole));
  }
}

// Every later part lies a frame too early, as far as it is dropped at its end: the reference does so.
TEST(InParts, DropsTheLastFrameWhereItIsToldTo) {
  const auto tiling = Tiling::of_pixels(4, 4, /*compression=*/1);  // no overlap
  const auto z = at::arange(9).to(at::kFloat).view({9, 1, 1, 1}), video = at::full_like(z, NAN);
  in_parts(z, tiling, DropFrame::kLast, video, [](const Tensor& part) { return part; });
  EXPECT_TRUE(at::equal(video.flatten(), at::tensor({0.f, 1.f, 2.f, 3.f, 4.f, 4.f, 5.f, 6.f, 7.f})));
}

TEST(Blend, FadesLinearly) {
  const auto before = at::full({2, 6, 1}, 8.0f), tile = at::zeros({2, 5, 1});
  blend(before, tile, 1, 4);
  for (const auto& row : tile.unbind()) EXPECT_TRUE(at::allclose(row.flatten(), at::tensor({8.f, 6.f, 4.f, 2.f, 0.f})));
}

}  // namespace
}  // namespace eav
