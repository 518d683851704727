// Options that every family has, and those that several have: declared once, with defaults of the family's own.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eav/request.h"
#include "options/option_set.h"
#include "sampling/cache_options.h"

namespace eav {

// Whether latents are decoded in tiles, which takes less memory and makes another picture; `automatic`: where memory
// does not suffice otherwise.
enum class VaeTiling { automatic, on, off };

// How a picture of another shape comes to the video's size.
enum class ImageFit {
  stretch,  // to that size
  crop,     // with its own aspect, until it covers the video, whose middle is kept
};

// A family's defaults of what every family has.
struct CommonStandards {
  Standard<int64_t> width, height, frames;
  Standard<double> fps, guidance;
  std::vector<std::string> schedulers;  // that the family has
  Standard<std::string> scheduler;
  Standard<int64_t> steps;
  double enhance_weight;  // the method's own for this family
  // EasyCache's, as its authors have them for this family, or for one that is like it.
  double easy_cache_threshold = 0.05;
  int64_t easy_cache_first_steps = 5;
};

struct CommonOptions : OptionSet {
  // Throws eav::Error where a value that is asked for does not serve.
  CommonOptions(Asked asked, const CommonStandards& standards);

  std::string prompt;
  std::optional<std::string> negative_prompt;
  uint64_t seed = 0;  // drawn where none is asked for
  int64_t width = 0, height = 0, frames = 0;
  double fps = 0;
  int64_t steps = 0;
  double guidance = 0;
  double guidance_start = 0, guidance_end = 1;  // fractions of the steps
  std::string scheduler;
  std::filesystem::path init_latents;  // empty: noise
  bool latents_only = false;
  EnhanceOptions enhance;  // its weight is set
  CacheOptions cache;

  std::optional<VaeTiling> vae_tiling;  // nothing where the family has no tiles

  bool guided() const { return guidance > 1; }
  // Whether guidance, where there is any, works at step `index` of `count`: from int(start * count) on, and before
  // int(end * count), as diffusers' guiders count.
  bool guides(int64_t index, int64_t count) const;
  // Has it work at every step: what a plan counts, which takes two of them.
  void guide_always();
  void set_cache(CacheOptions options);
  bool tiled() const { return vae_tiling == VaeTiling::on; }
  void choose_tiling(VaeTiling tiling);
  // Throws eav::Error where the enhancement names other layers than 0 to `layers` - 1.
  void check_layers(int64_t layers) const;
  // The request that these came from, with every field set.
  Request request() const;

 protected:
  // What several families have; each says its own default.
  void take_cache(const CommonStandards& standards);
  std::optional<double> take_flow_shift(const std::string& standard_words);
  void take_vae_tiling(const std::string& standard);
  ImageFit take_image_fit(const std::string& standard);
  // `parts` as OptionSpec::Type::conditions has them.
  std::vector<Condition> take_conditions(std::vector<std::string> parts);
};

}  // namespace eav
