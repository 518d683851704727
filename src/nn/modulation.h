// Tokens of one video that are at different timesteps: runs of neighbours, each modulated by numbers of its own.
#pragma once
#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace eav {
using at::Tensor;

// Timesteps of tokens: the first `tokens[0]` have the first one, and so on.
struct Timesteps {
  Tensor values;  // [runs] float32
  std::vector<int64_t> tokens;
};

// What a table of numbers and the timesteps make of every run of tokens: factors and shifts of its channels.
struct Modulation {
  Tensor rows;  // [numbers, runs, C]
  const std::vector<int64_t>& tokens;

  // Calls f(run, first token, number of tokens) for every run.
  template <class F>
  void each(const F& f) const {
    int64_t first = 0;
    for (size_t run = 0; run < tokens.size(); first += tokens[run++]) f(static_cast<int64_t>(run), first, tokens[run]);
  }
};

}  // namespace eav
