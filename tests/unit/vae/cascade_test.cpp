// Stages of a causal model, each fed as many frames at a time as suit it: the result is that of the whole.
#include "vae/cascade.h"

#include <gtest/gtest.h>

#include <iterator>

#include "compare.h"

namespace eav {
namespace {

constexpr Surroundings kAround{.past = 2, .future = 0, .border = Border::kZero, .before = Border::kZero};

TEST(Cascade, EqualsTheWhole) {
  const Conv3d first(at::randn({4, 3, 3, 3, 3}), at::randn({4}), kAround),
      second(at::randn({2, 4, 3, 3, 3}), at::randn({2}), kAround);
  // Large frames go through the second stage two at a time, and small ones all at once.
  for (const int64_t size : {4, 100}) {
    std::vector<int64_t> seen;  // by the second stage
    const auto x = at::randn({11, size, 2 * size, 3});
    Pass pass{.progress = Progress()};
    Frames result;
    Cascade cascade(
        {[&](const Frames& frames, Pass& on) { return first(at::stack(frames), on); },
         [&](const Frames& frames, Pass& on) {
           seen.push_back(std::ssize(frames));
           return second(at::stack(frames), on);
         }},
        [&](Frames frames) { std::ranges::move(frames, std::back_inserter(result)); }, pass);
    for (const int64_t begin : {0, 1, 5}) {
      const auto end = begin == 0 ? 1 : begin == 1 ? 5 : 11;
      cascade.feed(x.slice(0, begin, end).unbind(), end == 11);
    }
    Pass whole{.progress = Progress()};
    EXPECT_LT(error(joined(result), joined(second(joined(first(x, whole)), whole))), 1e-5);
    // An odd number at first, and even ones then.
    const auto expected = size == 4 ? std::vector<int64_t>{11} : std::vector<int64_t>{1, 2, 2, 2, 2, 2};
    EXPECT_EQ(seen, expected);
  }
}

TEST(Cascade, StopsOnRequest) {
  struct Stopped : Progress {
    bool cancelled() const override { return true; }
  } stopped;
  Pass pass{.progress = stopped};
  Cascade cascade({[](Frames x, Pass&) { return x; }}, [](const Frames&) {}, pass);
  EXPECT_THROW(cascade.feed({at::zeros({2, 2, 1})}, true), Cancelled);
}

}  // namespace
}  // namespace eav
