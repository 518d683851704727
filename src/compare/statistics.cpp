#include "compare/statistics.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace eav {
namespace {

constexpr int kDraws = 10000;

struct Sum {
  double total = 0;
  int64_t count = 0;
};

// Whole numbers below `limit`, the same on every system.
class Draw {
 public:
  explicit Draw(uint64_t seed) : engine_(seed) {}
  size_t below(size_t limit) { return static_cast<size_t>(engine_() % limit); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace

Estimate estimate(const Differences& differences, int sign) {
  std::vector<Sum> prompts;
  double wins = 0;
  for (const auto& seeds : differences) {
    auto& prompt = prompts.emplace_back();
    for (const auto difference : seeds) {
      prompt.total += difference;
      ++prompt.count;
      wins += difference == 0 ? 0.5 : difference * sign > 0 ? 1 : 0;
    }
  }
  const auto sum = [](auto begin, auto end) {
    Sum all;
    for (; begin != end; ++begin) all = {all.total + begin->total, all.count + begin->count};
    return all;
  };
  const auto all = sum(prompts.begin(), prompts.end());
  Estimate result{.mean = all.total / static_cast<double>(all.count),
                  .low = 0,
                  .high = 0,
                  .win_rate = wins / static_cast<double>(all.count),
                  .p = 1,
                  .pairs = all.count};

  Draw draw(20250211);
  std::vector<double> means(kDraws);
  for (auto& mean : means) {
    Sum drawn;
    for (size_t i = 0; i < prompts.size(); ++i) {
      const auto& prompt = prompts[draw.below(prompts.size())];
      drawn = {drawn.total + prompt.total, drawn.count + prompt.count};
    }
    mean = drawn.total / static_cast<double>(drawn.count);
  }
  std::ranges::sort(means);
  const auto quantile = [&](double q) { return means[static_cast<size_t>(std::lround(q * (kDraws - 1)))]; };
  result.low = quantile(0.025);
  result.high = quantile(0.975);

  int as_large = 0;
  for (int i = 0; i < kDraws; ++i) {
    double flipped = 0;
    for (const auto& prompt : prompts) flipped += draw.below(2) == 0 ? prompt.total : -prompt.total;
    as_large += std::abs(flipped) >= std::abs(all.total) * (1 - 1e-12) ? 1 : 0;
  }
  result.p = (1.0 + as_large) / (1.0 + kDraws);
  return result;
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::sort(order, {}, [&](size_t i) { return p[i]; });
  std::vector<double> corrected(p.size());
  double most = 0;
  for (size_t rank = 0; rank < order.size(); ++rank) {
    most = std::max(most, std::min(1.0, p[order[rank]] * static_cast<double>(p.size() - rank)));
    corrected[order[rank]] = most;
  }
  return corrected;
}

}  // namespace eav
