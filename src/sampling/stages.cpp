#include "sampling/stages.h"

#include <utility>

namespace eav {
namespace {

constexpr const char* kSampling = "sampling.";

}  // namespace

Saving saving_of_run(const Saving& whole, const std::optional<SavedState>& resumed, SavedState before) {
  Saving saving;
  if (resumed) saving.from = resumed->part(kSampling);
  if (whole.keep)
    saving.keep = [keep = whole.keep, before = std::move(before)](const SavedState& sampling) {
      auto state = before;
      state.add(kSampling, sampling);
      keep(state);
    };
  return saving;
}

Trace joined_traces(std::span<const Trace> runs) {
  Trace joined = runs[0];
  for (const auto& run : runs.subspan(1)) {
    for (auto entry : run.entries) {
      entry.step += joined.steps;
      joined.entries.push_back(std::move(entry));
    }
    for (const auto step : run.reused_steps) joined.reused_steps.push_back(step + joined.steps);
    joined.steps += run.steps;
  }
  return joined;
}

}  // namespace eav
