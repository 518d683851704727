#include "sampling/caches/mag.h"

#include <fmt/format.h>

#include <cmath>

namespace eav {
namespace {

constexpr double kMostInARow = 3;
constexpr double kAlwaysComputed = 0.2;  // of a model's steps, the first ones

// Mean of |now| / |then| over tokens [B, L, C].
double ratio_of_sizes(const Tensor& now, const Tensor& then) {
  const auto size = [](const Tensor& x) { return at::linalg_vector_norm(x.to(at::kFloat), 2, -1); };
  return (size(now) / (size(then) + 1e-8)).mean().item<double>();
}

}  // namespace

std::vector<double> ratios_of_steps(const std::vector<double>& ratios, int64_t steps) {
  const auto last = static_cast<double>(ratios.size() - 1);
  // In float32, as the reference does it: halves round as there.
  const auto scale = static_cast<float>(steps == 1 ? last : last / static_cast<double>(steps - 1));
  std::vector<double> of_steps;
  for (int64_t i = 0; i < steps; ++i) {
    const auto place = steps == 1 ? scale : static_cast<float>(i) * scale;
    of_steps.push_back(ratios[static_cast<size_t>(std::nearbyint(place))]);
  }
  return of_steps;
}

bool MagCache::decide(const Step& step) {
  const auto of_step = index(step);
  if (options_.measure || of_step < std::lround(kAlwaysComputed * static_cast<double>(count()))) return false;
  // Of the size at the last computed step, what is expected now; and by how much the steps since were wrong.
  auto& size = number("size");
  auto& error = number("error");
  auto& in_a_row = number("in a row");
  size = (in_a_row == 0 ? 1 : size) * ratios_of_steps(options_.ratios, step.count)[static_cast<size_t>(step.index)];
  error += std::abs(1 - size);
  in_a_row += 1;
  const bool reuses = has("added 0") && error <= options_.threshold && in_a_row <= kMostInARow;
  if (!reuses) error = in_a_row = 0;
  return reuses;
}

void MagCache::blocks(const Tensor& tokens, Step& step, const Work& first, const Work& rest) {
  if (step.branch == 0) reuses_ = !tokens.is_meta() && decide(step);
  const auto name = fmt::format("added {}", step.branch);
  if (reuses_) {
    tokens.add_(tensor(name));
    step.enhance.reuse(step.branch, 0);
    return;
  }
  const auto before = tokens.clone();
  first();
  rest();
  const auto added = tokens - before;
  if (options_.measure && step.branch == 0 && !tokens.is_meta())
    options_.measure(has(name) ? ratio_of_sizes(added, tensor(name)) : 1);
  tensor(name) = added;
}

}  // namespace eav
