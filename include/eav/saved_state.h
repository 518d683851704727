// The state of an unfinished video: what it takes to go on, in this process or another.
#pragma once
#include <ATen/core/Tensor.h>

#include <functional>
#include <map>
#include <optional>
#include <string>

namespace [[gnu::visibility("default")]] eav {

// Named tensors. Those of a part of the engine have its name before theirs: "scheduler.last_denoised".
struct SavedState {
  std::map<std::string, at::Tensor> tensors = {};

  // Adds those of a part: "scheduler." before their names.
  void add(const std::string& prefix, const SavedState& part);
  // What add() added under a prefix.
  SavedState part(const std::string& prefix) const;
  // Throws eav::Error where there is no such tensor, or it has another shape or type.
  const at::Tensor& tensor(const std::string& name) const;
  at::Tensor like(const std::string& name, const at::Tensor& other) const;  // on the device of `other`
  int64_t whole(const std::string& name, int64_t least, int64_t most) const;
  // Whether all steps are done, and decoding is what is left.
  bool denoised() const;
};

// How a run of videos is kept while it works.
struct Saving {
  std::optional<SavedState> from = {};               // that the first video goes on from
  std::function<void(const SavedState&)> keep = {};  // called after each step, and once when a video's steps are done
};

}  // namespace eav
