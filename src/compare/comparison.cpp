#include "eav/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "compare/json.h"
#include "compare/statistics.h"
#include "options/json.h"
#include "weights/config.h"

namespace eav {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

Variant Variant::parse(const std::string& name) {
  if (name == "none" || name == "auto") return {name};
  double weight = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), weight);
  if (error != std::errc() || end != name.data() + name.size() || !(weight >= 0 && weight <= 100))
    throw Error(fmt::format("'{}' is no weight, expected numbers from 0 to 100 and auto, such as 1,2,4,auto", name));
  return {fmt::format("{}", weight)};
}

void Variant::apply(EnhanceOptions& enhance) const {
  enhance.enabled = name != "none";
  enhance.adaptive = name == "auto";
  if (enhance.enabled && !enhance.adaptive) enhance.weight = std::stod(name);
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
  for (const auto& name : json.get<std::vector<std::string>>("variants")) plan.variants.push_back(Variant::parse(name));
  return plan;
}

std::filesystem::path ComparisonFolder::samples(size_t pair) const {
  return folder / "pairs" / fmt::format("{:03}.json", pair);
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
  }
  return json.dump(2) + "\n";
}

PairSamples read_samples(const std::filesystem::path& file, const std::vector<Variant>& variants) {
  const JsonFile json(file);
  PairSamples samples;
  for (const auto& variant : variants) {
    if (!json.has(variant.name)) throw Error(fmt::format("{}: has no \"{}\"", file.string(), variant.name));
    const JsonFile one(file, json.json().at(variant.name));
    if (!one.has("measures")) throw Error(fmt::format("{}: \"{}\" has no measures", file.string(), variant.name));
    const JsonFile measures(file, one.json().at("measures"));
    auto& sample = samples[variant.name];
    for (const auto& measure : all_measures()) sample.measures[measure.name] = measures.optional<double>(measure.name);
    sample.gain = one.get<double>("gain", 1);
    sample.weight = one.get<double>("weight", 0);
    sample.seconds = one.get<double>("seconds", 0);
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
    if (variant.name != "none") compared.emplace_back(variant.name, "none");
  if (std::ranges::find(plan.variants, Variant{"auto"}) != plan.variants.end())
    for (const auto& variant : plan.variants)
      if (variant.name != "none" && variant.name != "auto") compared.emplace_back("auto", variant.name);

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

nlohmann::ordered_json mean_enhancement(const std::vector<PairSamples>& samples, const Variant& variant) {
  const auto mean = [&](auto member) {
    double sum = 0;
    for (const auto& pair : samples) sum += pair.at(variant.name).*member;
    return sum / static_cast<double>(samples.size());
  };
  return {{"gain", mean(&Sample::gain)}, {"weight", mean(&Sample::weight)}, {"seconds", mean(&Sample::seconds)}};
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
  Json json{{"primary", plan.primary}, {"variants", Json::object()}, {"contrasts", Json::array()}};
  for (const auto& variant : plan.variants) json["variants"][variant.name] = mean_enhancement(samples, variant);
  for (const auto& contrast : contrasts) {
    auto& one = json["contrasts"].emplace_back(summary(contrast));
    one["of_pairs"] = Json::array();
    for (const auto& difference : contrast.of_pairs) one["of_pairs"].push_back(nullable(difference));
  }
  return json.dump(2) + "\n";
}

}  // namespace eav
