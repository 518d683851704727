#include "eav/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace eav {

std::string describe(const Trace& trace) {
  if (trace.token_frames <= 1) return "a single token frame has no other frame to attend to";
  if (trace.entries.empty()) return "no step and layer was chosen";
  const auto t = static_cast<double>(trace.token_frames);
  const auto [lowest, highest] = std::ranges::minmax(trace.entries, {}, &TraceEntry::weight);
  const auto weight =
      trace.adaptive ? fmt::format("{:.2f} to {:.2f}", lowest.weight, highest.weight) : fmt::format("{}", trace.weight);
  const auto most_scaled = std::ranges::max(trace.entries, {}, &TraceEntry::gain);
  const auto scaled = std::ranges::count_if(trace.entries, [](const TraceEntry& e) { return e.gain > 1; });
  const auto [least, most] = std::ranges::minmax(trace.entries, {}, &TraceEntry::cfi);
  if (scaled > 0)
    return fmt::format(
        "{} of {} layer-steps scaled, by up to {:.3f} (weight {}, CFI {:.3f} to {:.3f} over {} token frames)", scaled,
        trace.entries.size(), most_scaled.gain, weight, least.cfi, most.cfi, trace.token_frames);
  const double largest = most.cfi;
  const double needed = std::ceil((1 / largest - t) * 10) / 10;  // as it is printed, and not below
  const auto advice =
      needed <= 100 ? fmt::format("raise `enhance_weight` above {:.1f} to scale any", std::max(needed, trace.weight))
                    : std::string("no `enhance_weight` up to 100 would scale any");
  return fmt::format("nothing was scaled: no CFI above {:.3f} over {} token frames; {}", largest, trace.token_frames,
                     advice);
}

std::vector<UnscaledLayer> unscaled_layers(const Trace& trace) {
  struct Most {
    double cfi = 0, gain = 1;
  };
  std::map<int64_t, Most> layers;
  for (const auto& entry : trace.entries) {
    auto& most = layers[entry.layer];
    most = {std::max(most.cfi, entry.cfi), std::max(most.gain, entry.gain)};
  }
  std::vector<UnscaledLayer> unscaled;
  for (const auto& [layer, most] : layers)
    if (most.gain <= 1) unscaled.push_back({layer, most.cfi, 1 / most.cfi - static_cast<double>(trace.token_frames)});
  return unscaled;
}

}  // namespace eav
