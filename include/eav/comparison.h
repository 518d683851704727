// A comparison of videos with and without the enhancement: what is made, what was measured, and what follows from it.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eav/measures.h"
#include "eav/record.h"

namespace [[gnu::visibility("default")]] eav {

// How a video is enhanced: "none", "auto", or a weight such as "3.4".
struct Variant {
  std::string name;
  // "none", "auto", or a number from 0 to 100. Throws eav::Error.
  static Variant parse(const std::string& name);
  void apply(EnhanceOptions& enhance) const;
  bool operator==(const Variant&) const = default;
};

// One prompt and seed; each gives a video of every variant, from the same noise.
struct Pair {
  size_t prompt;
  uint64_t seed;
};

// What a comparison is to be: written down before the first video.
struct ComparisonPlan {
  std::vector<std::string> prompts;
  int64_t seeds = 1;              // of each prompt
  uint64_t first_seed = 1;        // pair i has first_seed + i
  std::vector<Variant> variants;  // "none" first
  std::string primary;            // the measure that the question is about
  std::string settings{};         // of the videos, and what they were made with: shared_settings()

  size_t pair_count() const { return prompts.size() * static_cast<size_t>(seeds); }
  std::vector<Pair> pairs() const;
  bool operator==(const ComparisonPlan& other) const;
};
// What all videos of a comparison share, as JSON: one's record without its prompt, seed, threads and enhancement.
std::string shared_settings(Record record);
std::string to_json(const ComparisonPlan& plan);
// Throws eav::Error when the file holds no plan.
ComparisonPlan read_plan(const std::filesystem::path& file);

// What a video of a pair measured.
struct Sample {
  std::map<std::string, std::optional<double>> measures;  // by name; see all_measures()
  double gain = 1, weight = 0;                            // means over steps and layers; 1 and 0 where not enhanced
  double seconds = 0;                                     // of the transformer
};
// By variant.
using PairSamples = std::map<std::string, Sample>;

// Files of a comparison in its folder.
struct ComparisonFolder {
  std::filesystem::path folder;
  std::filesystem::path plan() const { return folder / "plan.json"; }
  std::filesystem::path samples(size_t pair) const;                        // pairs/000.json
  std::filesystem::path video(size_t pair, const Variant& variant) const;  // videos/000-auto.mp4
  std::filesystem::path results() const { return folder / "results.json"; }
  std::filesystem::path report() const { return folder / "report.html"; }
};
std::string to_json(const PairSamples& samples);
// Throws eav::Error when the file holds no samples of these variants.
PairSamples read_samples(const std::filesystem::path& file, const std::vector<Variant>& variants);

// What paired measurements say of a difference.
struct Estimate {
  double mean = 0;           // over all pairs
  double low = 0, high = 0;  // its 95 % confidence interval, by the bootstrap over prompts (percentiles of 10,000)
  double win_rate = 0;       // the part of pairs that are better, equal ones counting half
  double p = 1;              // two-sided, by 10,000 random flips of the signs of prompts' means
  int64_t pairs = 0;
};

// Two variants on one measure: how much more `variant` has than `baseline`.
struct Contrast {
  std::string variant, baseline, measure;
  double variant_mean = 0, baseline_mean = 0;
  Estimate difference;
  std::optional<double> corrected_p;            // of a secondary measure, by Holm over those of the same two variants
  std::vector<std::optional<double>> of_pairs;  // differences, pair by pair; unset where a video lacks the measure
};
// Each variant against "none", and "auto" against each weight; the primary measure first, then the others in their
// order.
std::vector<Contrast> contrasts(const ComparisonPlan& plan, const std::vector<PairSamples>& samples);

std::string to_json(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                    const std::vector<Contrast>& contrasts);

// The page that shows a comparison, one HTML file: tables, charts, and players of the videos, which lie in videos/
// beside it.
std::string comparison_report(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                              const std::vector<Contrast>& contrasts, const ComparisonFolder& folder);

}  // namespace eav
