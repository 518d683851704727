#include "options/common.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <random>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav {
namespace {

using Type = OptionSpec::Type;

constexpr double kMostWeight = 100;
constexpr double kMostThreshold = 1000;

// A seed that nobody chose, below 2^32 so that it is easily typed again.
uint64_t draw_seed() { return std::random_device{}(); }

void check_utf8(const std::string& text, const std::string& option) {
  auto words = option;
  std::ranges::replace(words, '_', ' ');
  if (!text::is_utf8(text)) throw Error(option, fmt::format("the {} is not valid UTF-8", words));
}

// Of a part of the steps, from `start` to `end`.
void check_fractions(const std::string& option, const char* what, double start, double end) {
  if (start >= end)
    throw Error(option, fmt::format("{} runs from {} to {}, expected 0 <= start < end <= 1", what, start, end));
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
  guidance_start = number("guidance_start", "Guide from this fraction of the steps on", {0, 1}, 0.0);
  guidance_end = number("guidance_end", "Guide up to this fraction of the steps", {0, 1}, 1.0);
  check_fractions("guidance_start", "guidance", guidance_start, guidance_end);
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
  check_fractions("enhance_start", "the enhancement", enhance.start, enhance.end);
  enhance.layers = LayerSet::parse(
      text_or_none("enhance_layers", "Transformer layers to enhance, such as 0-5,8", "all", "LIST").value_or(""));
  OptionSpec maps{.name = "enhance_maps",
                  .help = "Keep the mean temporal attention map of every step and layer in the trace",
                  .type = Type::boolean,
                  .standard = false,
                  .recorded = false};
  enhance.maps = std::get<bool>(*declare(std::move(maps)));
  take_cache(of);
  every_family_has_these();
}

void CommonOptions::take_cache(const CommonStandards& of) {
  using Kind = CacheOptions::Kind;
  static const std::map<std::string, Kind> kKinds{{"none", Kind::none},
                                                  {"easy", Kind::easy},
                                                  {"first-block", Kind::first_block},
                                                  {"mag", Kind::mag},
                                                  {"taylor", Kind::taylor}};
  const auto name = choice("cache", "Leave out steps that would bring little, and use again what earlier ones gave",
                           {"none", "easy", "first-block", "mag", "taylor"}, std::string("none"));
  cache.kind = kKinds.at(name);
  cache.first_steps = of.easy_cache_first_steps;
  const auto threshold = number_or_none("cache_threshold", "How much change a step that is left out may stand for",
                                        {0, kMostThreshold}, "easy by the model, first-block 0.05, mag 0.06");
  cache.interval = whole("cache_interval", "Of the cache taylor: one step in so many is computed", {1, 1000}, "5");
  cache.ratios = numbers("mag_ratios", "Of the cache mag: how the size of what the blocks add changes, for each step",
                         "measured once for each model and schedule");
  const auto only = [&](const char* option, const char* caches, bool serves) {
    if (is_asked(option) && !serves)
      throw Error(option, fmt::format("it belongs to `cache` {}, and the cache is {}", caches, name));
  };
  const bool has_threshold = cache.kind == Kind::easy || cache.kind == Kind::first_block || cache.kind == Kind::mag;
  only("cache_threshold", "easy, first-block or mag", has_threshold);
  only("cache_interval", "taylor", cache.kind == Kind::taylor);
  only("mag_ratios", "mag", cache.kind == Kind::mag);
  if (has_threshold) {
    const auto standard = cache.kind == Kind::easy ? of.easy_cache_threshold : cache.kind == Kind::mag ? 0.06 : 0.05;
    resolve("cache_threshold", cache.threshold = threshold.value_or(standard));
  }
  if (cache.kind == Kind::taylor) {
    if (cache.interval == 0) cache.interval = 5;
    resolve("cache_interval", cache.interval);
  }
}

bool CommonOptions::guides(int64_t index, int64_t count) const {
  const auto steps = static_cast<double>(count);
  return static_cast<int64_t>(guidance_start * steps) <= index && index < static_cast<int64_t>(guidance_end * steps);
}

void CommonOptions::guide_always() {
  guidance_start = 0;
  guidance_end = 1;
}

void CommonOptions::set_cache(CacheOptions options) {
  cache = std::move(options);
  if (!cache.ratios.empty()) resolve("mag_ratios", cache.ratios);
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
