#include "eav/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <set>

#include "compare/json.h"
#include "compare/statistics.h"
#include "options/json.h"
#include "weights/config.h"

namespace eav {
namespace {

using Json = nlohmann::ordered_json;

// A video of the same prompt, noise and size: what else may differ between variants.
const OptionSpec& option_of_variant(const std::string& name) {
  static const std::set<std::string> kShared{"prompt", "seed",    "conditions",    "denoise_strength",
                                             "width",  "height",  "frames",        "fps",
                                             "loop",   "enhance", "enhance_weight"};
  const auto* option = find_option(name);
  if (option == nullptr) throw Error(name, fmt::format("there is no option `{}`", name));
  if (kShared.contains(name) || !option->spec.recorded || !option->spec.stands_for.empty() ||
      option->spec.kind == "FILE" || name == "latents_only")
    throw Error(name, fmt::format("`{}` is the same for all variants: it cannot stand in one", name));
  return option->spec;
}

// Its name is part of files' names.
void check_short(const std::string& text) {
  constexpr auto kServe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";
  if (text.empty() || text.size() > 40 || text.find_first_not_of(kServe) != std::string::npos)
    throw Error(fmt::format("'{}' cannot stand in a variant, expected up to 40 letters, digits and . _ + -", text));
}

std::string parse_enhancement(const std::string& text) {
  if (text == "none" || text == "auto") return text;
  double weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error != std::errc() || end != text.data() + text.size() || !(weight >= 0 && weight <= 100))
    throw Error(
        fmt::format("'{}' is no weight, expected none, auto or a number from 0 to 100, and options behind it, "
                    "such as 3.4,steps=12",
                    text));
  return fmt::format("{}", weight);
}

}  // namespace

Variant Variant::parse(const std::string& text) {
  auto comma = std::min(text.find(','), text.size());
  Variant variant;
  variant.name = variant.enhancement = parse_enhancement(text.substr(0, comma));
  std::map<std::string, std::string> written;  // so that a variant has one name, however it is given
  while (comma < text.size()) {
    const auto next = std::min(text.find(',', comma + 1), text.size());
    const auto part = text.substr(comma + 1, next - comma - 1);
    const auto equals = part.find('=');
    if (equals == std::string::npos)
      throw Error(fmt::format("variant '{}': '{}' is no option and its value, such as steps=12", text, part));
    const auto name = part.substr(0, equals), value = part.substr(equals + 1);
    try {
      check_short(value);
      if (name == "dtype") {
        variant.dtype = parse_dtype(value);
        written[name] = to_string(*variant.dtype);
      } else if (name == "quantize") {
        variant.quantize = parse_quantize(value);
        written[name] = to_string(*variant.quantize);
      } else {
        const auto parsed = parse_value(option_of_variant(name), value);
        variant.options[name] = parsed;
        written[name] = to_string(parsed);
        check_short(written[name]);
      }
    } catch (const Error& error) {
      throw Error(fmt::format("variant '{}': {}: {}", text, name, error.what()));
    }
    comma = next;
  }
  for (const auto& [name, value] : written) variant.name += fmt::format(",{}={}", name, value);
  return variant;
}

void Variant::apply(Request& request) const {
  for (const auto& [option, value] : options) request.set(option, value);
  auto& enhance = request.enhance;
  enhance.enabled = enhancement != "none";
  enhance.adaptive = enhancement == "auto";
  if (enhance.enabled && !enhance.adaptive) enhance.weight = std::stod(enhancement);
}

void Variant::apply(Runtime& runtime) const {
  if (dtype) runtime.dtype = *dtype;
  if (quantize) runtime.quantize = *quantize;
}

const Variant* ComparisonPlan::baseline_of(const Variant& variant) const {
  const auto leader = [&](const std::string& enhancement) {
    const Variant* found = nullptr;
    for (const auto& other : variants)
      if (other.enhancement == enhancement && (found == nullptr || (other.is_plain() && !found->is_plain())))
        found = &other;
    return found;
  };
  const auto* alike = leader(variant.enhancement);
  if (alike != nullptr && *alike != variant) return alike;
  const auto* none = leader("none");
  const auto* root = none != nullptr ? none : leader(variants.at(0).enhancement);
  return *root == variant ? nullptr : root;
}

std::vector<Variant> ComparisonPlan::in_order() const {
  const auto depth = [&](const Variant& variant) {
    int64_t steps = 0;
    for (const auto* at = baseline_of(variant); at != nullptr; at = baseline_of(*at)) ++steps;
    return steps;
  };
  auto ordered = variants;
  std::ranges::stable_sort(ordered, {}, depth);
  return ordered;
}

std::vector<Pair> ComparisonPlan::pairs() const {
  std::vector<Pair> pairs;
  for (size_t prompt = 0; prompt < prompts.size(); ++prompt)
    for (int64_t i = 0; i < seeds; ++i) pairs.push_back({prompt, first_seed + pairs.size()});
  return pairs;
}

bool ComparisonPlan::operator==(const ComparisonPlan& other) const {
  const auto unordered = [](const ComparisonPlan& plan) { return nlohmann::json::parse(to_json(plan)); };
  return unordered(*this) == unordered(other);
}

std::string shared_settings(Record record) {
  record.request.prompt.clear();
  record.request.seed.reset();
  record.runtime.threads = 0;
  auto json = Json::parse(to_json(record, {}));
  json.erase("enhanced");
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string to_json(const ComparisonPlan& plan) {
  Json variants = Json::array();
  for (const auto& variant : plan.variants) variants.push_back(variant.name);
  const auto settings = plan.settings.empty() ? Json() : Json::parse(plan.settings);
  const Json json{{"prompts", plan.prompts}, {"seeds", plan.seeds},     {"first_seed", plan.first_seed},
                  {"variants", variants},    {"primary", plan.primary}, {"settings", settings}};
  return json.dump(2) + "\n";
}

ComparisonPlan read_plan(const std::filesystem::path& file) {
  const JsonFile json(file);
  ComparisonPlan plan{json.get<std::vector<std::string>>("prompts"),
                      json.get<int64_t>("seeds"),
                      static_cast<uint64_t>(json.get<int64_t>("first_seed")),
                      {},
                      json.get<std::string>("primary"),
                      json.has("settings") ? json.json().at("settings").dump() : std::string()};
  // What "auto" meant on a CPU before the plan held what it came to.
  if (auto settings = json.has("settings") ? json.json().at("settings") : nlohmann::json();
      settings.is_object() && settings.contains("dtype") && settings["dtype"] == "auto" &&
      settings.contains("device") && settings["device"] == "cpu") {
    settings["dtype"] = "float32";
    plan.settings = settings.dump();
  }
  for (const auto& name : json.get<std::vector<std::string>>("variants")) plan.variants.push_back(Variant::parse(name));
  return plan;
}

std::filesystem::path ComparisonFolder::samples(size_t pair) const {
  return folder / "pairs" / fmt::format("{:03}.json", pair);
}

std::filesystem::path ComparisonFolder::begun(size_t pair) const {
  return folder / "pairs" / fmt::format("{:03}.begun.json", pair);
}

std::filesystem::path ComparisonFolder::frames(size_t pair, const Variant& variant) const {
  return folder / "frames" / fmt::format("{:03}-{}.safetensors", pair, variant.name);
}

std::filesystem::path ComparisonFolder::video(size_t pair, const Variant& variant) const {
  return folder / "videos" / fmt::format("{:03}-{}.mp4", pair, variant.name);
}

std::string to_json(const PairSamples& samples) {
  Json json;
  for (const auto& [variant, sample] : samples) {
    auto& one = json[variant];
    for (const auto& measure : all_measures())
      one["measures"][measure.name] = nullable(sample.measures.at(measure.name));
    one["gain"] = sample.gain;
    one["weight"] = sample.weight;
    one["seconds"] = sample.seconds;
    one["evaluations"] = sample.evaluations;
    one["psnr"] = nullable(sample.psnr);
    one["ssim"] = nullable(sample.ssim);
  }
  return json.dump(2) + "\n";
}

PairSamples read_samples(const std::filesystem::path& file, const std::vector<Variant>& variants, bool begun) {
  const JsonFile json(file);
  PairSamples samples;
  for (const auto& variant : variants) {
    if (!json.has(variant.name) && begun) continue;
    if (!json.has(variant.name)) throw Error(fmt::format("{}: has no \"{}\"", file.string(), variant.name));
    const JsonFile one(file, json.json().at(variant.name));
    if (!one.has("measures")) throw Error(fmt::format("{}: \"{}\" has no measures", file.string(), variant.name));
    const JsonFile measures(file, one.json().at("measures"));
    auto& sample = samples[variant.name];
    for (const auto& measure : all_measures()) sample.measures[measure.name] = measures.optional<double>(measure.name);
    sample.gain = one.get<double>("gain", 1);
    sample.weight = one.get<double>("weight", 0);
    sample.seconds = one.get<double>("seconds", 0);
    sample.evaluations = one.get<int64_t>("evaluations", 0);
    sample.psnr = one.optional<double>("psnr");
    sample.ssim = one.optional<double>("ssim");
  }
  return samples;
}

namespace {

Contrast contrast(const ComparisonPlan& plan, const std::vector<PairSamples>& samples, const std::string& variant,
                  const std::string& baseline, const Measure& measure) {
  Contrast result{variant, baseline, measure.name, 0, 0, {}, {}, {}};
  Differences differences(plan.prompts.size());
  const auto pairs = plan.pairs();
  for (size_t i = 0; i < pairs.size(); ++i) {
    const auto a = samples[i].at(variant).measures.at(measure.name),
               b = samples[i].at(baseline).measures.at(measure.name);
    auto& difference = result.of_pairs.emplace_back();
    if (!a || !b) continue;
    difference = *a - *b;
    differences[pairs[i].prompt].push_back(*difference);
    result.variant_mean += *a;
    result.baseline_mean += *b;
  }
  std::erase_if(differences, [](const auto& seeds) { return seeds.empty(); });
  if (differences.empty()) return result;
  result.difference = estimate(differences, measure.better == Better::less ? -1 : 1);
  result.variant_mean /= static_cast<double>(result.difference.pairs);
  result.baseline_mean /= static_cast<double>(result.difference.pairs);
  return result;
}

}  // namespace

std::vector<Contrast> contrasts(const ComparisonPlan& plan, const std::vector<PairSamples>& samples) {
  std::vector<std::pair<std::string, std::string>> compared;
  for (const auto& variant : plan.variants)
    if (const auto* baseline = plan.baseline_of(variant)) compared.emplace_back(variant.name, baseline->name);
  if (std::ranges::find(plan.variants, "auto", &Variant::name) != plan.variants.end())
    for (const auto& variant : plan.variants)
      if (variant.is_plain() && variant.name != "none" && variant.name != "auto")
        compared.emplace_back("auto", variant.name);

  std::vector<Contrast> all;
  for (const auto& [variant, baseline] : compared) {
    all.push_back(contrast(plan, samples, variant, baseline, measure_named(plan.primary)));
    const auto first = all.size();
    std::vector<double> p;
    for (const auto& measure : all_measures())
      if (measure.name != plan.primary)
        p.push_back(all.emplace_back(contrast(plan, samples, variant, baseline, measure)).difference.p);
    const auto corrected = holm(p);
    for (size_t i = 0; i < corrected.size(); ++i) all[first + i].corrected_p = corrected[i];
  }
  return all;
}

std::vector<Nearness> nearness(const ComparisonPlan& plan, const std::vector<PairSamples>& samples) {
  const auto pairs = plan.pairs();
  // Of the variant's samples; nothing where one lacks it.
  const auto of = [&](const Variant& variant, std::optional<double> Sample::* member) -> std::optional<Nearness::Of> {
    Differences values(plan.prompts.size());
    auto worst = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < pairs.size(); ++i) {
      const auto value = samples[i].at(variant.name).*member;
      if (!value) return std::nullopt;
      values[pairs[i].prompt].push_back(*value);
      worst = std::min(worst, *value);
    }
    const auto mean = estimate(values, 1);
    return Nearness::Of{mean.mean, mean.low, mean.high, worst};
  };
  std::vector<Nearness> all;
  for (const auto& variant : plan.variants) {
    const auto* baseline = plan.baseline_of(variant);
    if (baseline == nullptr) continue;
    const auto psnr = of(variant, &Sample::psnr), ssim = of(variant, &Sample::ssim);
    if (psnr && ssim) all.push_back({variant.name, baseline->name, *psnr, *ssim});
  }
  return all;
}

nlohmann::ordered_json mean_enhancement(const std::vector<PairSamples>& samples, const Variant& variant) {
  const auto mean = [&](auto member) {
    double sum = 0;
    for (const auto& pair : samples) sum += static_cast<double>(pair.at(variant.name).*member);
    return sum / static_cast<double>(samples.size());
  };
  return {{"gain", mean(&Sample::gain)},
          {"weight", mean(&Sample::weight)},
          {"seconds", mean(&Sample::seconds)},
          {"evaluations", mean(&Sample::evaluations)}};
}

nlohmann::ordered_json summary(const Nearness& nearness) {
  const auto of = [](const Nearness::Of& of) {
    return Json{{"mean", of.mean}, {"interval", {of.low, of.high}}, {"worst", of.worst}};
  };
  return {{"variant", nearness.variant},
          {"baseline", nearness.baseline},
          {"psnr", of(nearness.psnr)},
          {"ssim", of(nearness.ssim)}};
}

nlohmann::ordered_json summary(const Contrast& contrast) {
  const auto& difference = contrast.difference;
  return {{"variant", contrast.variant},
          {"baseline", contrast.baseline},
          {"measure", contrast.measure},
          {"means", {contrast.variant_mean, contrast.baseline_mean}},
          {"difference", difference.mean},
          {"interval", {difference.low, difference.high}},
          {"win_rate", difference.win_rate},
          {"p", difference.p},
          {"corrected_p", nullable(contrast.corrected_p)}};
}

std::string to_json(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                    const std::vector<Contrast>& contrasts) {
  Json json{{"primary", plan.primary},
            {"variants", Json::object()},
            {"fidelity", Json::array()},
            {"contrasts", Json::array()}};
  for (const auto& variant : plan.variants) json["variants"][variant.name] = mean_enhancement(samples, variant);
  for (const auto& near : nearness(plan, samples)) json["fidelity"].push_back(summary(near));
  for (const auto& contrast : contrasts) {
    auto& one = json["contrasts"].emplace_back(summary(contrast));
    one["of_pairs"] = Json::array();
    for (const auto& difference : contrast.of_pairs) one["of_pairs"].push_back(nullable(difference));
  }
  return json.dump(2) + "\n";
}

}  // namespace eav
