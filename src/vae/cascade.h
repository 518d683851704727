// A causal model whose levels see different numbers of frames at a time.
#pragma once
#include <functional>
#include <utility>
#include <vector>

#include "vae/conv.h"
#include "vae/frames.h"

namespace eav {

// Stages of a causal model, one after the other, each given as many frames at a time as are enough work for it: many of
// low resolution, few of high resolution, so that memory is bounded however long the video is. The first time it is an
// odd number of frames and then an even one, as those that halve the frames want it, except at the end.
class Cascade {
 public:
  using Stage = std::function<Frames(Frames x, Pass& pass)>;

  Cascade(std::vector<Stage> stages, std::function<void(Frames x)> result, Pass& pass);

  // The next frames of the video, or with `last` its last ones.
  void feed(Frames x, bool last) { feed(0, std::move(x), last); }

 private:
  void feed(size_t stage, Frames x, bool last);

  struct Step {
    Stage run;
    Frames waiting;  // for more of them
    bool begun = false;
  };
  std::vector<Step> steps_;
  std::function<void(Frames x)> result_;
  Pass& pass_;
};

}  // namespace eav
