#include "enhance/adaptive.h"

#include <algorithm>
#include <functional>
#include <vector>

namespace eav {
namespace {

// Layers that hardly look across frames ask for any weight: the gain of the others stays bounded.
double most_weight(int64_t token_frames) { return std::min(2.0 * static_cast<double>(token_frames), 100.0); }

// The scale x at which the mean of max(1, cfi * x) is the target: with the k largest CFI above 1 / x, it is
// (target * n - (n - k)) / (the sum of those).
double scale_for_target(std::vector<double> cfi) {
  std::ranges::sort(cfi, std::greater());
  const auto n = static_cast<double>(cfi.size());
  double sum = 0, scale = 0;
  for (size_t k = 1; k <= cfi.size(); ++k) {
    sum += cfi[k - 1];
    scale = (kTargetGain * n - (n - static_cast<double>(k))) / sum;
    if (k == cfi.size() || cfi[k] * scale <= 1) break;
  }
  return scale;
}

}  // namespace

double first_adapted_weight(int64_t token_frames) {
  return std::min((kTargetGain - 1) * static_cast<double>(token_frames), most_weight(token_frames));
}

double adapted_weight(std::span<const double> cfi, int64_t token_frames, double weight) {
  const auto most = most_weight(token_frames);
  if (*std::ranges::max_element(cfi) <= 0) return most;
  const auto wanted = scale_for_target({cfi.begin(), cfi.end()}) - static_cast<double>(token_frames);
  return (weight + std::clamp(wanted, 0.0, most)) / 2;
}

}  // namespace eav
