// The page that shows a comparison.
#pragma once
#include <string>
#include <vector>

#include "compare/comparison.h"

namespace eav {

// One HTML file: tables, charts, and players of the videos, which lie in videos/ beside it.
std::string comparison_report(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                              const std::vector<Contrast>& contrasts, const ComparisonFolder& folder);

}  // namespace eav
