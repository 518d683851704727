// A comparison of videos that differ in the enhancement or in other options: what is made, what was measured, and what
// follows from it.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eav/measures.h"
#include "eav/record.h"

namespace [[gnu::visibility("default")]] eav {

// How the videos of a variant are made: enhanced so, and with values of options in the place of the comparison's.
struct Variant {
  std::string name{};            // "3.4,dtype=bfloat16,steps=12"
  std::string enhancement{};     // "none", "auto", or a weight such as "3.4"
  Settings options{};            // by name
  std::optional<Dtype> dtype{};  // unset: the comparison's, as
  std::optional<Quantize> quantize{};

  // "none", "auto", or a number from 0 to 100; behind it options by their names, as in "3.4,steps=12": those that
  // records hold, "dtype" and "quantize", but for the prompt, the noise and the video's size. Throws eav::Error.
  static Variant parse(const std::string& text);
  void apply(Request& request) const;
  void apply(Runtime& runtime) const;
  bool is_plain() const { return name == enhancement; }
  bool operator==(const Variant& other) const { return name == other.name; }
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
  std::vector<Variant> variants;  // two or more
  std::string primary;            // the measure that the question is about
  std::string settings{};         // of the videos, and what they were made with: shared_settings()

  // What the videos of a variant are compared with, and their fidelity measured to: the variant that is enhanced alike
  // and has no other options, else the first that is enhanced alike; for that one itself, the one that is not enhanced,
  // else the first. nullptr for the one that all lead to.
  const Variant* baseline_of(const Variant& variant) const;
  // In an order in which each stands behind its baseline.
  std::vector<Variant> in_order() const;
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
  int64_t evaluations = 0;  // steps that the transformer was computed in; 0 in files of older versions
  // To the baseline's frames, before a video file loses any of it. The PSNR of equal ones is kEqual. Unset for a
  // variant without baseline, and in files of older versions.
  std::optional<double> psnr{}, ssim{};
  static constexpr double kEqual = 100;  // dB; more than videos of 8 bits that differ have
};

// By variant.
using PairSamples = std::map<std::string, Sample>;

// Files of a comparison in its folder.
struct ComparisonFolder {
  std::filesystem::path folder;
  std::filesystem::path plan() const { return folder / "plan.json"; }
  std::filesystem::path samples(size_t pair) const;                         // pairs/000.json, of a finished pair
  std::filesystem::path begun(size_t pair) const;                           // pairs/000.begun.json, of one with videos
  std::filesystem::path frames(size_t pair, const Variant& variant) const;  // frames/000-none.safetensors, until then
  std::filesystem::path video(size_t pair, const Variant& variant) const;   // videos/000-auto.mp4
  std::filesystem::path results() const { return folder / "results.json"; }
  std::filesystem::path report() const { return folder / "report.html"; }
};
std::string to_json(const PairSamples& samples);
// Throws eav::Error when the file holds no samples of these variants; of a pair that is begun, some may be missing.
PairSamples read_samples(const std::filesystem::path& file, const std::vector<Variant>& variants, bool begun = false);

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
// Each variant against its baseline, and "auto" against each weight; the primary measure first, then the others in
// their order.
std::vector<Contrast> contrasts(const ComparisonPlan& plan, const std::vector<PairSamples>& samples);

// How near the videos of a variant are to its baseline's.
struct Nearness {
  std::string variant, baseline;
  struct Of {
    double mean = 0, low = 0, high = 0;  // over pairs, and its 95 % confidence interval as an Estimate's
    double worst = 0;
  } psnr, ssim;  // as Fidelity's, with Sample::kEqual
};
// Of each variant that has a baseline, where all samples have it.
std::vector<Nearness> nearness(const ComparisonPlan& plan, const std::vector<PairSamples>& samples);

std::string to_json(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                    const std::vector<Contrast>& contrasts);

// The page that shows a comparison, one HTML file: tables, charts, and players of the videos, which lie in videos/
// beside it.
std::string comparison_report(const ComparisonPlan& plan, const std::vector<PairSamples>& samples,
                              const std::vector<Contrast>& contrasts, const ComparisonFolder& folder);

}  // namespace eav
