#include "options/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <random>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav {
namespace {

using Type = OptionSpec::Type;

constexpr double kMostWeight = 100;

// A seed that nobody chose, below 2^32 so that it is easily typed again.
uint64_t draw_seed() { return std::random_device{}(); }

void check_utf8(const std::string& text, const std::string& option) {
  auto words = option;
  std::ranges::replace(words, '_', ' ');
  if (!text::is_utf8(text)) throw Error(option, fmt::format("the {} is not valid UTF-8", words));
}

}  // namespace

CommonOptions::CommonOptions(Asked asked, const CommonStandards& of) : OptionSet(std::move(asked)) {
  const Range whole_range{1, kMostWhole};
  prompt = text_or_none("prompt", "What the video shows").value_or("");
  negative_prompt = text_or_none("negative_prompt", "What the video should not show");
  check_utf8(prompt, "prompt");
  check_utf8(negative_prompt.value_or(""), "negative_prompt");
  seed = std::get<uint64_t>(
      declare({.name = "seed", .help = "Seed of the noise", .type = Type::seed, .standard_words = "drawn"})
          .value_or(draw_seed()));
  resolve("seed", seed);
  width = whole("width", "Width in pixels", whole_range, of.width);
  height = whole("height", "Height in pixels", whole_range, of.height);
  frames = whole("frames", "Frames of the video", whole_range, of.frames);
  fps = number("fps", "Frames a second of the video", {0.01, 240}, of.fps);
  steps = whole("steps", "Denoising steps: more is slower and better", whole_range, of.steps);
  guidance = number("guidance", "Guidance scale: how closely the prompt is followed; at most 1 turns it off", {0, 1000},
                    of.guidance);
  scheduler = choice("scheduler", "Scheduler: how noise is taken away, step by step", of.schedulers, of.scheduler);
  init_latents = text_or_none("init_latents",
                              "Start from the tensor \"latents\" in this .safetensors file instead of the seed's noise",
                              "", "FILE")
                     .value_or("");
  latents_only = boolean("latents_only", "Stop before the VAE decodes: make latents, and no video", false);

  enhance.enabled = boolean("enhance", "Enhance-A-Video: strengthen the attention between frames", true);
  OptionSpec weight{.name = "enhance_weight",
                    .help = "Strength of the enhancement (its temperature), or auto: by the video's own CFI",
                    .type = Type::number,
                    .least = 0,
                    .most = kMostWeight,
                    .choices = {"auto"},
                    .standard = of.enhance_weight};
  const auto asked_weight = declare(weight).value_or(of.enhance_weight);
  enhance.adaptive = std::holds_alternative<std::string>(asked_weight);
  enhance.weight = enhance.adaptive ? of.enhance_weight : std::get<double>(asked_weight);
  enhance.start = number("enhance_start", "Enhance from this fraction of the steps on", {0, 1}, 0.0);
  enhance.end = number("enhance_end", "Enhance up to this fraction of the steps", {0, 1}, 1.0);
  if (enhance.start >= enhance.end)
    throw Error("enhance_start", fmt::format("the enhancement runs from {} to {}, expected 0 <= start < end <= 1",
                                             enhance.start, enhance.end));
  enhance.layers = LayerSet::parse(
      text_or_none("enhance_layers", "Transformer layers to enhance, such as 0-5,8", "all", "LIST").value_or(""));
  OptionSpec maps{.name = "enhance_maps",
                  .help = "Keep the mean temporal attention map of every step and layer in the trace",
                  .type = Type::boolean,
                  .standard = false,
                  .recorded = false};
  enhance.maps = std::get<bool>(*declare(std::move(maps)));
  every_family_has_these();
}

void CommonOptions::check_layers(int64_t layers) const {
  for (const auto& [first, last] : enhance.layers.ranges)
    if (last >= layers)
      throw Error("enhance_layers",
                  fmt::format("the enhancement names layer {}, this model has layers 0 to {}", last, layers - 1));
}

Request CommonOptions::request() const {
  Request request;
  for (const auto& [name, value] : values()) request.set(name, value);
  request.enhance = enhance;
  return request;
}

std::optional<double> CommonOptions::take_flow_shift(const std::string& standard_words) {
  return number_or_none("flow_shift", "Shift of the schedule: how far noise levels move towards 1 (flow matching)",
                        {0.001, 1000}, standard_words);
}

void CommonOptions::take_vae_tiling(const std::string& standard) {
  const auto name =
      choice("vae_tiling", "Decode latents in tiles: less memory, another picture; auto: where memory asks for it",
             {"auto", "on", "off"}, standard);
  vae_tiling = name == "on" ? VaeTiling::on : name == "off" ? VaeTiling::off : VaeTiling::automatic;
}

void CommonOptions::choose_tiling(VaeTiling tiling) {
  vae_tiling = tiling;
  resolve("vae_tiling", tiling == VaeTiling::on ? "on" : tiling == VaeTiling::off ? "off" : "auto");
}

ImageFit CommonOptions::take_image_fit(const std::string& standard) {
  const auto name = choice("image_fit", "How a picture of another shape is brought to the video's size",
                           {"stretch", "crop"}, standard);
  return name == "crop" ? ImageFit::crop : ImageFit::stretch;
}

std::vector<Condition> CommonOptions::take_conditions(std::vector<std::string> parts) {
  OptionSpec spec{.name = "conditions",
                  .help = "Pictures and clips that the video begins with or shows",
                  .type = Type::conditions,
                  .choices = std::move(parts)};
  return std::get<std::vector<Condition>>(declare(std::move(spec)).value_or(std::vector<Condition>()));
}

}  // namespace eav
