// Options that every family has, and those that several have: declared once, with defaults of the family's own.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eav/request.h"
#include "options/option_set.h"

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
  std::string scheduler;
  std::filesystem::path init_latents;  // empty: noise
  bool latents_only = false;
  EnhanceOptions enhance;  // its weight is set

  std::optional<VaeTiling> vae_tiling;  // nothing where the family has no tiles

  bool guided() const { return guidance > 1; }
  bool tiled() const { return vae_tiling == VaeTiling::on; }
  void choose_tiling(VaeTiling tiling);
  // Throws eav::Error where the enhancement names other layers than 0 to `layers` - 1.
  void check_layers(int64_t layers) const;
  // The request that these came from, with every field set.
  Request request() const;

 protected:
  // What several families have; each says its own default.
  std::optional<double> take_flow_shift(const std::string& standard_words);
  void take_vae_tiling(const std::string& standard);
  ImageFit take_image_fit(const std::string& standard);
  // `parts` as OptionSpec::Type::conditions has them.
  std::vector<Condition> take_conditions(std::vector<std::string> parts);
};

}  // namespace eav
