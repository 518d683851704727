#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "base/regular_file.h"
#include "compare/json.h"
#include "eav/comparison.h"
#include "options/json.h"
#include "report/page.h"
#include "text/base64.h"

namespace eav {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostEmbedded = 24 << 20;  // bytes of videos in the page; more are shown from their files

// Pairs from the worst difference to the best; without one they come first.
std::vector<size_t> ranking(const Contrast& contrast) {
  const double sign = measure_named(contrast.measure).better == Better::less ? -1 : 1;
  std::vector<size_t> order(contrast.of_pairs.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, {}, [&](size_t i) {
    return contrast.of_pairs[i] ? sign * *contrast.of_pairs[i] : -std::numeric_limits<double>::infinity();
  });
  return order;
}

}  // namespace

std::string comparison_report(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                              const std::vector<Contrast>& contrasts, const ComparisonFolder& folder) {
  constexpr const char* kBetter[] = {"less", "more", "neither"};
  Json data{{"prompts", plan.prompts}, {"seeds", plan.seeds}, {"primary", plan.primary}};
  const auto settings = Json::parse(plan.settings);
  const auto& request = settings.at("request");
  data["about"] = fmt::format("{}, {} frames of {}x{}, {} steps.",
                              std::filesystem::path(settings.at("model").get<std::string>()).filename().string(),
                              request.at("frames").dump(), request.at("width").dump(), request.at("height").dump(),
                              request.at("steps").dump());
  for (const auto& measure : all_measures())
    data["measures"].push_back(
        {{"name", measure.name}, {"label", measure.label}, {"better", kBetter[static_cast<size_t>(measure.better)]}});
  for (const auto& variant : plan.variants) {
    auto& one = data["variants"].emplace_back(mean_enhancement(samples, variant));
    one["name"] = variant.name;
    one["enhancement"] = variant.enhancement;
    const auto* baseline = plan.baseline_of(variant);
    one["baseline"] = baseline == nullptr ? Json() : Json(baseline->name);
  }
  for (const auto& contrast : contrasts) data["contrasts"].push_back(summary(contrast));
  data["fidelity"] = Json::array();
  for (const auto& near : nearness(plan, samples)) data["fidelity"].push_back(summary(near));

  // Ranked by the last variant against its baseline: "auto", where it is among the weights.
  const auto last = std::ranges::find_if(plan.variants.rbegin(), plan.variants.rend(),
                                         [&](const Variant& v) { return plan.baseline_of(v) != nullptr; });
  const auto& ranked = *std::ranges::find_if(contrasts, [&](const Contrast& c) {
    return c.variant == last->name && c.baseline == plan.baseline_of(*last)->name && c.measure == plan.primary;
  });
  const auto order = ranking(ranked);
  data["ranked"] = {ranked.variant, ranked.baseline};
  data["ranking"] = order;
  const auto pairs = plan.pairs();
  for (size_t i = 0; i < pairs.size(); ++i) {
    Json pair{{"prompt", pairs[i].prompt}, {"seed", pairs[i].seed}, {"difference", nullable(ranked.of_pairs[i])}};
    for (const auto& variant : plan.variants) {
      pair["videos"][variant.name] = folder.video(i, variant).lexically_relative(folder.folder).generic_string();
      pair["primary"][variant.name] = nullable(samples[i].at(variant.name).measures.at(plan.primary));
    }
    data["pairs"].push_back(std::move(pair));
  }
  data["embedded"] = Json::object();
  size_t bytes = 0;
  for (const auto rank : {size_t{0}, (order.size() - 1) / 2, order.size() - 1})
    for (const auto& variant : plan.variants) {
      const auto path = folder.video(order[rank], variant);
      const auto video = read_file(path);
      bytes += video.size();
      if (bytes <= kMostEmbedded)
        data["embedded"][path.lexically_relative(folder.folder).generic_string()] =
            "data:video/mp4;base64," + base64(video);
    }
  data["of_options"] = !std::ranges::all_of(plan.variants, &Variant::is_plain);
  return report_page(Report::compare, "What the enhancement changed", data);
}

}  // namespace eav
