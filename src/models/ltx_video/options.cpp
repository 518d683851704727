#include "models/ltx_video/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "eav/error.h"

namespace eav::ltx_video {
namespace {

constexpr double kFirstTimestep = 1000;  // of pure noise

}  // namespace

Options::Options(Asked asked, Abilities of)
    : CommonOptions(std::move(asked), {.width = 704,
                                       .height = 512,
                                       .frames = 161,
                                       .fps = 25.0,
                                       .guidance = of.distilled ? 1.0 : 3.0,
                                       .schedulers = {"euler"},
                                       .scheduler = std::string("euler"),
                                       .steps = of.distilled ? kDistilledSteps : 50,
                                       .enhance_weight = 4}),  // that of both known implementations for this family
      of(of) {
  take_vae_tiling("auto");
  if (timesteps.empty()) return;
  const auto count = std::ssize(timesteps);
  if (is_asked("steps") && steps != count)
    throw Error("timesteps",
                fmt::format("there are {} timesteps, and {} steps: leave one of the two out", count, steps));
  steps = count;
  resolve("steps", steps);
  if (!std::ranges::is_sorted(timesteps, std::greater_equal()) || timesteps[0] > kFirstTimestep ||
      timesteps.back() <= 0)
    throw Error("timesteps", fmt::format("the timesteps are {}, expected numbers from {} downwards and above 0",
                                         fmt::join(timesteps, ", "), kFirstTimestep));
}

}  // namespace eav::ltx_video
