// Frames in one block and apart, and the ways between channels and positions, against ATen's shuffles.
#include "vae/frames.h"

#include <gtest/gtest.h>

namespace eav {
namespace {

TEST(Joined, CopiesOnlyFramesThatLieApart) {
  const auto like = at::empty({1});
  for (const bool one_block : {false, true}) {
    auto frames = empty_frames(3, {4, 5, 6}, like, one_block);
    for (int64_t t = 0; t < 3; ++t) frames[t].fill_(static_cast<double>(t));
    const auto video = joined(frames);
    EXPECT_TRUE(at::equal(video, at::arange(3).to(at::kFloat).view({3, 1, 1, 1}).expand({3, 4, 5, 6})));
    EXPECT_EQ(video.is_alias_of(frames[0]), one_block);
    EXPECT_EQ(joined({frames[1], frames[2]}).is_alias_of(frames[1]), one_block);
  }
}

TEST(Joined, FramesOfOneBlockInAnotherOrderAreCopied) {
  const auto x = at::randn({3, 2, 2, 2});
  EXPECT_TRUE(at::equal(joined({x[1], x[0], x[2]}), at::stack({x[1], x[0], x[2]})));
  EXPECT_TRUE(at::equal(joined({x[0], x[2]}), at::stack({x[0], x[2]})));
}

TEST(ChannelsAndPositions, EqualPixelShuffle) {
  const auto x = at::randn({4, 6, 5 * 9});                                              // [H, W, C * 3 * 3]
  const auto shuffled = at::pixel_shuffle(x.permute({2, 0, 1}), 3).permute({1, 2, 0});  // [3 H, 3 W, C]
  const auto frames = channels_to_positions(x, /*time=*/1, /*space=*/3);
  EXPECT_TRUE(at::equal(frames.at(0).reshape({12, 18, 5}), shuffled));
  EXPECT_TRUE(at::equal(positions_to_channels(shuffled, 3).flatten(2), x));
}

TEST(ChannelsAndPositions, TimeIsTheSlowestAxis) {
  const auto x = at::randn({4, 6, 5 * 8});
  const auto frames = channels_to_positions(x, /*time=*/2, /*space=*/2);
  for (int64_t t = 0; t < 2; ++t) {
    const auto channels = x.view({4, 6, 5, 2, 4}).select(3, t).flatten(2);  // [H, W, C * 2 * 2]
    const auto shuffled = at::pixel_shuffle(channels.permute({2, 0, 1}), 2).permute({1, 2, 0});
    EXPECT_TRUE(at::equal(frames.at(t).reshape({8, 12, 5}), shuffled));
  }
}

}  // namespace
}  // namespace eav
