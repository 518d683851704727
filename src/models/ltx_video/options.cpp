#include "models/ltx_video/options.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>

#include "eav/error.h"
#include "models/ltx_video/noise_levels.h"

namespace eav::ltx_video {
namespace {

// Throws where timesteps do not go downwards, from that of pure noise at most.
void check_timesteps(const std::string& option, const std::vector<double>& timesteps) {
  if (!std::ranges::is_sorted(timesteps, std::greater_equal()) || timesteps[0] > kTrainSteps || timesteps.back() <= 0)
    throw Error(option, fmt::format("the timesteps are {}, expected numbers from {} downwards and above 0",
                                    fmt::join(timesteps, ", "), kTrainSteps));
}

// The last steps of a schedule.
std::vector<double> second_pass_of(const PassSteps& passes) {
  const auto sigmas = linear_quadratic_sigmas(passes.schedule).slice(0, passes.schedule - passes.second);
  const auto timesteps = (sigmas.to(at::kFloat) * kTrainSteps).to(at::kDouble).contiguous();
  return {timesteps.const_data_ptr<double>(), timesteps.const_data_ptr<double>() + timesteps.numel()};
}

}  // namespace

Options::Options(Asked asked, Abilities of)
    : CommonOptions(std::move(asked), {.width = 704,
                                       .height = 512,
                                       .frames = 161,
                                       .fps = 25.0,
                                       .guidance = of.distilled ? 1.0 : 3.0,
                                       .schedulers = {"euler"},
                                       .scheduler = std::string("euler"),
                                       .steps = of.passes      ? of.passes->first
                                                : of.distilled ? kDistilledSteps
                                                               : 50,
                                       .enhance_weight = 4}),  // that of both known implementations for this family
      of(of) {
  take_vae_tiling("auto");
  if (of.passes && second_pass_timesteps.empty()) {
    second_pass_timesteps = second_pass_of(*of.passes);
    resolve("second_pass_timesteps", second_pass_timesteps);
  }
  if (!second_pass_timesteps.empty()) check_timesteps("second_pass_timesteps", second_pass_timesteps);
  if (timesteps.empty()) return;
  const auto count = std::ssize(timesteps);
  if (is_asked("steps") && steps != count)
    throw Error("timesteps",
                fmt::format("there are {} timesteps, and {} steps: leave one of the two out", count, steps));
  steps = count;
  resolve("steps", steps);
  check_timesteps("timesteps", timesteps);
}

}  // namespace eav::ltx_video
