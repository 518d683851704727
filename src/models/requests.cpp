#include "models/requests.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <map>
#include <random>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"
#include "weights/config.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

constexpr double kMaxWeight = 100;

}  // namespace

void apply_checkpoint_defaults(Request& request, const std::filesystem::path& model) {
  const auto path = model / "eav.json";
  if (!std::filesystem::exists(path)) return;
  const JsonFile file(path);
  const auto whole = [&](std::optional<int64_t>& field, const std::string& name) {
    if (!field && file.has(name)) field = file.count(name);
  };
  const auto number = [&](std::optional<double>& field, const std::string& name) {
    if (!field) field = file.optional<double>(name);
  };
  for (const auto& [name, value] : file.json().items()) {
    if (name == "width")
      whole(request.width, name);
    else if (name == "height")
      whole(request.height, name);
    else if (name == "frames")
      whole(request.frames, name);
    else if (name == "steps")
      whole(request.steps, name);
    else if (name == "fps")
      number(request.fps, name);
    else if (name == "guidance")
      number(request.guidance, name);
    else if (name == "enhance_weight")
      number(request.enhance.weight, name);
    else if (name == "scheduler") {
      if (!request.scheduler) request.scheduler = file.optional<std::string>(name);
    } else
      throw Error(fmt::format(
          "{}: \"{}\" is no default that can be set here: width, height, frames, fps, steps, guidance, scheduler "
          "and enhance_weight are",
          path.string(), name));
  }
}

void check_common(const Request& request, int64_t layers) {
  if (!text::is_utf8(request.prompt)) throw Error("the prompt is not valid UTF-8");
  if (!text::is_utf8(request.negative_prompt.value_or(""))) throw Error("the negative prompt is not valid UTF-8");
  if (*request.steps < 1) throw Error(fmt::format("steps is {}, expected at least 1", *request.steps));
  if (!std::isfinite(*request.guidance) || *request.guidance < 0 || *request.guidance > 1000)
    throw Error(fmt::format("guidance is {}, expected a number from 0 to 1000 (at most 1 turns guidance off)",
                            *request.guidance));
  if (!std::isfinite(*request.fps) || *request.fps <= 0 || *request.fps > 240)
    throw Error(fmt::format("fps is {}, expected a number above 0 and at most 240", *request.fps));

  const auto& enhance = request.enhance;
  if (!std::isfinite(*enhance.weight) || *enhance.weight < 0 || *enhance.weight > kMaxWeight)
    throw Error(
        fmt::format("the enhancement's weight is {}, expected a number from 0 to {}", *enhance.weight, kMaxWeight));
  if (!(0 <= enhance.start && enhance.start < enhance.end && enhance.end <= 1))
    throw Error(
        fmt::format("the enhancement runs from {} to {}, expected 0 <= start < end <= 1", enhance.start, enhance.end));
  for (const auto& [first, last] : enhance.layers.ranges)
    if (last >= layers)
      throw Error(fmt::format("the enhancement names layer {}, this model has layers 0 to {}", last, layers - 1));
}

namespace {

// Which of the options that serve only some models are set.
std::map<std::string, bool> particular_options(const Request& request) {
  return {
      {"true guidance", request.true_guidance.has_value()},
      {"dynamic guidance", request.dynamic_guidance},
      {"flow shift", request.flow_shift.has_value()},
      {"guidance rescale", request.guidance_rescale.has_value()},
      {"decode timestep", request.decode_timestep.has_value()},
      {"decode noise scale", request.decode_noise_scale.has_value()},
      {"kinds of blocks", request.enhance.blocks != EnhanceBlocks::all},
      {"frame-wise VAE", request.vae_framewise},
      {"timesteps to choose", !request.timesteps.empty()},
      {"denoise strength", request.denoise_strength.has_value()},
      {"noise on conditions", request.image_cond_noise_scale.has_value()},
      {"image or video to condition on", !request.conditions.empty()},
      {"resolutions, aspects and lengths by name", request.resolution || request.aspect || request.length},
      {"prompt clean-up", !request.clean_prompt},
      {"aesthetic score", request.aesthetic_score.has_value()},
      {"motion score", request.motion_score.has_value()},
      {"camera motion", request.camera_motion.has_value()},
      {"loop of clips", request.loop != 1},
  };
}

}  // namespace

void check_has_only(const Request& request, const std::string& family, const std::vector<std::string>& has) {
  for (const auto& [name, is_set] : particular_options(request))
    if (is_set && std::ranges::find(has, name) == has.end())
      throw Error(fmt::format("{} has no {}: leave that option out", family, name));
}

void check_euler(const Request& request, const std::string& family) {
  if (*request.scheduler != "euler")
    throw Error(
        fmt::format("the scheduler \"{}\" does not serve {}: its scheduler is euler", *request.scheduler, family));
}

void check_fraction(const std::string& name, const std::optional<double>& value) {
  if (value && !(*value >= 0 && *value <= 1))
    throw Error(fmt::format("{} is {}, expected a number from 0 to 1", name, *value));
}

void check_size(const std::string& name, int64_t value, int64_t multiple, int64_t most) {
  const int64_t highest = most > 0 ? most / multiple * multiple : 0;
  if (value >= multiple && value % multiple == 0 && (most == 0 || value <= highest)) return;
  const int64_t below = std::max(multiple, value / multiple * multiple);
  std::vector<int64_t> nearest;
  if (most > 0 && below >= highest)
    nearest = {highest};
  else if (value < multiple)
    nearest = {multiple};
  else
    nearest = {below, below + multiple};
  throw Error(fmt::format("{} is {}, expected a multiple of {}{}: the nearest {} {}", name, value, multiple,
                          most > 0 ? fmt::format(" of at most {}", highest) : "", nearest.size() > 1 ? "are" : "is",
                          fmt::join(nearest, " and ")));
}

void check_frames(int64_t frames, int64_t multiple) {
  if (frames == 1 || (frames > 1 && (frames - 1) % multiple == 0)) return;
  const int64_t below = frames < 1 ? 1 : (frames - 1) / multiple * multiple + 1;
  throw Error(fmt::format("frames is {}, expected 1 or a multiple of {} plus 1: the nearest {} {}", frames, multiple,
                          frames < 1 ? "is" : "are",
                          frames < 1 ? "1" : fmt::format("{} and {}", below, below + multiple)));
}

uint64_t draw_seed() { return std::random_device{}(); }

at::Tensor load_latents(const std::filesystem::path& file, at::IntArrayRef shape) {
  const SafetensorsFile latents(file);
  const auto found = latents.entries().find("latents");
  if (found == latents.entries().end()) throw Error(fmt::format("{}: has no tensor \"latents\"", file.string()));
  if (found->second.shape != shape.vec() || !at::isFloatingType(found->second.dtype))
    throw Error(fmt::format("{}: \"latents\" has shape [{}], this size and length need floating point numbers of [{}]",
                            file.string(), fmt::join(found->second.shape, ", "), fmt::join(shape, ", ")));
  return latents.view(found->second).clone();
}

at::Tensor initial_latents(const Request& request, at::IntArrayRef shape, at::Generator& generator,
                           at::ScalarType type) {
  if (!request.init_latents.empty()) return load_latents(request.init_latents, shape).to(type);
  return at::randn(shape, generator, at::TensorOptions(type));
}

at::Tensor to_pictures(const at::Tensor& video) {
  return (video[0].to(at::kFloat) / 2 + 0.5)
      .clamp_(0, 1)
      .mul_(255)
      .round_()
      .permute({1, 2, 3, 0})
      .to(at::kCPU, at::kByte)
      .contiguous();
}

}  // namespace eav
