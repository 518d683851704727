// Convolutions of a video against ATen's of the whole clip in float64, whole and chunk by chunk.
#include "vae/conv.h"

#include <gtest/gtest.h>

#include "compare.h"
#include "vae/resample.h"

namespace eav {
namespace {

constexpr double kTolerance = 3e-6;

struct Shape {
  int64_t frames, height, width, in, out;
};
// The first takes ATen, the second the kernel.
constexpr Shape kShapes[] = {{8, 5, 6, 3, 4}, {9, 36, 40, 8, 6}};

constexpr Surroundings kCausal[] = {{2, 0, Border::kZero, Border::kZero},
                                    {2, 0, Border::kZero, Border::kReplicate},
                                    {2, 0, Border::kReplicate, Border::kReplicate},
                                    {0, 0, Border::kZero, Border::kReplicate}};
constexpr Surroundings kCentered[] = {{1, 1, Border::kZero, Border::kReplicate},
                                      {1, 1, Border::kZero, Border::kZero},
                                      {1, 1, Border::kZero, Border::kZero, Border::kZero}};

Tensor random_video(const Shape& shape) { return at::randn({shape.frames, shape.height, shape.width, shape.in}); }

Conv3d random_conv(int64_t in, int64_t out, const Surroundings& around, int64_t kernel = 3) {
  return {at::randn({out, in, around.past + 1 + around.future, kernel, kernel}), at::randn({out}), around};
}

// The convolution of x [F, H, W, in] by ATen in float64.
Tensor expected(const Conv3d& conv, const Tensor& x, int64_t time_stride = 1, int64_t space_stride = 1) {
  const auto& around = conv.around;
  const auto video = x.to(at::kDouble);
  Frames frames(around.past, around.before == Border::kZero ? at::zeros_like(video[0]) : video[0]);
  for (const auto& frame : video.unbind()) frames.push_back(frame);
  frames.insert(frames.end(), around.future, around.after == Border::kZero ? at::zeros_like(video[0]) : frames.back());
  auto padded = at::stack(frames).permute({3, 0, 1, 2}).unsqueeze(0);  // [1, in, past + F + future, H, W]
  const auto margin = conv.weight.size(3) / 2;
  if (around.border == Border::kReplicate)
    padded = at::replication_pad3d(padded, {margin, margin, margin, margin, 0, 0});
  if (around.border == Border::kZero) padded = at::constant_pad_nd(padded, {margin, margin, margin, margin});
  if (around.border == Border::kZeroAfter) padded = at::constant_pad_nd(padded, {0, margin, 0, margin});
  const auto y = at::conv3d(padded, conv.weight.to(at::kDouble), conv.bias->to(at::kDouble),
                            at::IntArrayRef{time_stride, space_stride, space_stride});
  return y[0].permute({1, 2, 3, 0});
}

void expect_whole(const Conv3d& conv, const Tensor& x) {
  for (const bool one_block : {false, true}) {
    Pass pass{.progress = Progress(), .one_block = one_block};
    EXPECT_LT(error(joined(conv(x, pass)), expected(conv, x)), kTolerance);
  }
}

TEST(Conv3d, EqualsFloat64) {
  for (const auto& shape : kShapes) {
    for (const auto& around : kCausal) expect_whole(random_conv(shape.in, shape.out, around), random_video(shape));
    for (const auto& around : kCentered) expect_whole(random_conv(shape.in, shape.out, around), random_video(shape));
    for (const int64_t kernel : {1, 5})
      expect_whole(random_conv(shape.in, shape.out, kCausal[0], kernel), random_video(shape));
  }
}

TEST(Conv3d, AddsToASum) {
  for (const auto& shape : kShapes) {
    const auto conv = random_conv(shape.in, shape.out, kCausal[0]);
    const auto x = random_video(shape), before = at::randn({shape.frames, shape.height, shape.width, shape.out});
    Pass pass{.progress = Progress()};
    const auto frame = [&](int64_t t) { return x[t]; };
    const auto sum = conv(shape.frames, shape.height * shape.width, frame, pass, before.clone().unbind());
    EXPECT_LT(error(joined(sum), expected(conv, x) + before), kTolerance);
  }
}

// The first frame alone, then chunks of other lengths, one of them shorter than what the convolution sees before it.
TEST(Conv3d, ChunkByChunkEqualsTheWhole) {
  for (const auto& shape : kShapes)
    for (const auto& around : kCausal)
      for (const bool one_block : {false, true}) {
        const auto conv = random_conv(shape.in, shape.out, around);
        const auto x = random_video(shape);
        Pass pass{.progress = Progress(), .one_block = one_block};
        Frames made;
        int64_t first = 0;
        for (const auto length : {int64_t{1}, int64_t{1}, int64_t{4}, shape.frames - 6}) {
          pass.history.more_follows = first + length < shape.frames;
          const auto chunk = x.slice(0, first, first + length);
          for (const auto& frame : conv(chunk, pass)) made.push_back(frame);
          first += length;
        }
        EXPECT_LT(error(joined(made), expected(conv, x)), kTolerance);
        EXPECT_TRUE(pass.history.take(&conv).empty()) << "the last chunk leaves nothing";
      }
}

TEST(Downsample, EqualsFloat64) {
  const auto x = at::randn({9, 12, 14, 4});
  for (const auto& around : {kCausal[0], kCausal[2], kCentered[0], kCentered[1]})
    for (const int64_t space_stride : {1, 2}) {
      const Downsample downsample{random_conv(4, 6, around), /*time_stride=*/2, space_stride};
      Pass pass{.progress = Progress()};
      EXPECT_LT(error(joined(downsample(x.unbind(), pass)), expected(downsample.conv, x, 2, space_stride)), kTolerance);
    }
}

TEST(Downsample, ChunkByChunkEqualsTheWhole) {
  const auto x = at::randn({9, 12, 14, 4});
  for (const auto& around : {kCausal[0], kCausal[1], kCausal[2]}) {
    const Downsample downsample{random_conv(4, 6, around), /*time_stride=*/2, /*space_stride=*/2};
    Pass pass{.progress = Progress()};
    pass.history.more_follows = true;
    auto made = downsample(x.slice(0, 0, 4).unbind(), pass);
    pass.history.more_follows = false;
    for (const auto& frame : downsample(x.slice(0, 4).unbind(), pass)) made.push_back(frame);
    EXPECT_LT(error(joined(made), expected(downsample.conv, x, 2, 2)), kTolerance);
  }
}

TEST(Downsample, OfPicturesHasZerosBelowAndToTheRight) {
  const Downsample downsample{random_conv(3, 5, {0, 0, Border::kZeroAfter}), /*time_stride=*/1, /*space_stride=*/2};
  const auto x = at::randn({2, 13, 10, 3});
  Pass pass{.progress = Progress()};
  EXPECT_LT(error(joined(downsample(x.unbind(), pass)), expected(downsample.conv, x, 1, 2)), kTolerance);
}

TEST(Upsample, EqualsFloat64) {
  for (const bool doubles_time : {false, true})
    for (const int64_t frames : {1, 3, 4}) {
      const Upsample upsample{random_conv(3, 5, kCausal[3]), doubles_time};
      const auto x = at::randn({frames, 17, 18, 3});
      auto enlarged = x.repeat_interleave(2, 1).repeat_interleave(2, 2);
      if (doubles_time) enlarged = enlarged.repeat_interleave(2, 0).slice(0, frames % 2);  // the first stands alone
      Pass pass{.progress = Progress(), .one_block = doubles_time};
      EXPECT_LT(error(joined(upsample(x.unbind(), pass)), expected(upsample.conv, enlarged)), kTolerance);
    }
}

}  // namespace
}  // namespace eav
