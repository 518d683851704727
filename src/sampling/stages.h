// A video that is sampled in several runs, one after the other: clips, or passes.
#pragma once
#include <optional>
#include <span>

#include "eav/saved_state.h"
#include "eav/trace.h"

namespace eav {

// The saving of one run: what it keeps is handed on with `before`, which holds what the runs before it left, and it
// goes on from what `resumed` holds of it, if anything.
Saving saving_of_run(const Saving& whole, const std::optional<SavedState>& resumed, SavedState before);

// The traces of all runs as one: the steps of a run follow those of the one before.
Trace joined_traces(std::span<const Trace> runs);

}  // namespace eav
