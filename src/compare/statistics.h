// What paired measurements say: means with confidence intervals, and how likely chance alone would give them.
#pragma once
#include <span>
#include <vector>

#include "eav/comparison.h"

namespace eav {

// Differences of one measure, one list a prompt: its seeds. Prompts are independent of each other, seeds of a prompt
// are not, so that prompts are what is drawn again.
using Differences = std::vector<std::vector<double>>;

// `sign` is 1 where a larger difference is better, and -1 where a smaller is. Draws are of a fixed seed: the same
// differences give the same estimate. There is at least one difference.
Estimate estimate(const Differences& differences, int sign);

// Holm's (1979) correction: what each p becomes when so many are looked at.
std::vector<double> holm(std::span<const double> p);

}  // namespace eav
