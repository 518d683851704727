// What paired measurements say: means with confidence intervals, and how likely chance alone would give them.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace eav {

// Differences of one measure, one list a prompt: its seeds. Prompts are independent of each other, seeds of a prompt
// are not, so that prompts are what is drawn again.
using Differences = std::vector<std::vector<double>>;

struct Estimate {
  double mean = 0;           // over all pairs
  double low = 0, high = 0;  // its 95 % confidence interval, by the bootstrap over prompts (percentiles of 10,000)
  double win_rate = 0;       // the part of pairs that are better, equal ones counting half
  double p = 1;              // two-sided, by 10,000 random flips of the signs of prompts' means
  int64_t pairs = 0;
};

// `sign` is 1 where a larger difference is better, and -1 where a smaller is. Draws are of a fixed seed: the same
// differences give the same estimate. There is at least one difference.
Estimate estimate(const Differences& differences, int sign);

// Holm's (1979) correction: what each p becomes when so many are looked at.
std::vector<double> holm(std::span<const double> p);

}  // namespace eav
