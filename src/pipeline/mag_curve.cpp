#include "pipeline/mag_curve.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "base/json.h"
#include "eav/files.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using Ratios = std::vector<double>;

// What the curve of a model depends on, in words: all options but those of what a video shows, and of the cache.
std::string key_of(const CommonOptions& options) {
  static const std::set<std::string> kOthers{"prompt",          "negative_prompt", "seed",         "width",
                                             "height",          "frames",          "fps",          "init_latents",
                                             "latents_only",    "image_fit",       "vae_tiling",   "cache",
                                             "cache_threshold", "mag_ratios",      "enhance_maps", "conditions"};
  std::string key;
  for (const auto& [name, value] : options.values())
    if (!kOthers.contains(name)) key += fmt::format("{}{}={}", key.empty() ? "" : ";", name, to_string(value));
  return key;
}

nlohmann::json read_curves(const fs::path& file) {
  std::ifstream stream(file);
  auto json = parse_json(std::string(std::istreambuf_iterator<char>(stream), {}));
  return json.is_object() ? std::move(json) : nlohmann::json::object();
}

Ratios curve_in(const nlohmann::json& curves, const std::string& key) {
  const auto found = curves.find(key);
  const auto is_ratio = [](const auto& ratio) {
    return ratio.is_number() && std::isfinite(ratio.template get<double>());
  };
  if (found == curves.end() || !found->is_array() || !std::ranges::all_of(*found, is_ratio)) return {};
  return found->get<Ratios>();
}

Ratios measure(VideoJob& job, Progress& progress) {
  progress.phase("transformer, measuring for the cache mag");
  Ratios ratios;
  const auto cache = job.options().cache;
  auto measuring = cache;
  measuring.measure = [&](double ratio) { ratios.push_back(ratio); };
  job.set_cache(measuring);
  try {
    job.denoise(progress, {}, {});
  } catch (...) {
    job.set_cache(cache);
    throw;
  }
  job.set_cache(cache);
  progress.phase("transformer");
  return ratios;
}

}  // namespace

void take_mag_ratios(VideoJob& job, const std::string& fingerprint, Progress& progress) {
  auto cache = job.options().cache;
  if (cache.kind != CacheOptions::Kind::mag || !cache.ratios.empty()) return;
  const auto folder = user_cache_folder("mag"), file = folder / (fingerprint + ".json");
  const auto key = key_of(job.options());
  auto curves = folder.empty() ? nlohmann::json::object() : read_curves(file);
  cache.ratios = curve_in(curves, key);
  if (cache.ratios.empty()) {
    cache.ratios = measure(job, progress);
    // Of a video in several clips, which have the same schedule, the first one's.
    cache.ratios.resize(std::min(cache.ratios.size(), static_cast<size_t>(job.options().steps)));
    curves[key] = cache.ratios;
    if (!folder.empty()) try {
        fs::create_directories(folder);
        write_file(file, curves.dump(2) + "\n");
      } catch (const std::exception& error) {
        progress.warning(fmt::format("what was measured for the cache mag is not kept: {}", error.what()));
      }
  }
  job.set_cache(std::move(cache));
}

}  // namespace eav
