#include "pipeline/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <map>

#include "models/cogvideox/family.h"
#include "models/hunyuan_video/family.h"
#include "models/ltx_video/family.h"
#include "models/ltx_video/single_file.h"
#include "models/open_sora/family.h"
#include "models/wan/family.h"
#include "pipeline/model_path.h"
#include "weights/config.h"

namespace eav {
namespace {

template <class Model>
std::shared_ptr<Family> open(const std::filesystem::path& folder) {
  return std::make_shared<FamilyOf<Model>>(folder);
}

using Open = std::shared_ptr<Family> (*)(const std::filesystem::path&);

const std::map<std::string, Open>& families_by_class() {
  static const std::map<std::string, Open> known{
      {"CogVideoXPipeline", open<cogvideox::Model>},
      {"HunyuanVideoImageToVideoPipeline", open<hunyuan_video::Model>},
      {"HunyuanVideoPipeline", open<hunyuan_video::Model>},
      {"LTXConditionPipeline", open<ltx_video::Model>},
      {"LTXImageToVideoPipeline", open<ltx_video::Model>},
      {"LTXPipeline", open<ltx_video::Model>},
      {"WanImageToVideoPipeline", open<wan::Model>},
      {"WanPipeline", open<wan::Model>},
      {"WanVideoToVideoPipeline", open<wan::Model>},
  };
  return known;
}

}  // namespace

const std::vector<FamilyOptions>& all_options() {
  static const std::vector<FamilyOptions> all{
      {"CogVideoX", cogvideox::Options(Asked()).specs()},
      {"HunyuanVideo", hunyuan_video::Options(Asked()).specs()},
      {"LTX-Video", ltx_video::Options(Asked()).specs()},
      {"Open-Sora", open_sora::Options(Asked()).specs()},
      {"Wan", wan::Options(Asked()).specs()},
  };
  return all;
}

std::shared_ptr<Family> open_family(const ModelPaths& paths) {
  const auto& model = paths.model;
  const auto index = model / "model_index.json";
  if (std::filesystem::is_regular_file(model) && model.extension() == ".safetensors")
    return std::make_shared<FamilyOf<ltx_video::Model>>(ltx_video::open_single_file(paths));
  if (!std::filesystem::is_directory(model)) {
    const auto advice = advice_for(model);
    throw Error("model", fmt::format("{}: is neither a folder nor a .safetensors file{}", model.string(),
                                     !advice.empty() ? advice
                                                     : "; a checkpoint is a folder with a model_index.json, or "
                                                       "LTX-Video's original single file"));
  }
  if (open_sora::Layout::is_in(model)) return std::make_shared<FamilyOf<open_sora::Model>>(paths);
  for (const auto& [option, path] : {std::pair{"vae", paths.vae}, {"text_encoder", paths.text_encoder}})
    if (!path.empty())
      throw Error(option,
                  fmt::format("{}: is a folder with all parts of a model: leave `{}` out", model.string(), option));
  if (!std::filesystem::exists(index))
    throw Error("model", fmt::format("{}: is no checkpoint, as it has no model_index.json (diffusers' save_pretrained "
                                     "writes one){}",
                                     model.string(), advice_for(model)));
  const auto name = JsonFile(index).get<std::string>("_class_name");
  const auto found = families_by_class().find(name);
  if (found == families_by_class().end()) {
    std::vector<std::string> known;
    for (const auto& [family, opener] : families_by_class()) known.push_back(family);
    throw Error("model", fmt::format("{}: is of the family {}, which is not supported; supported are: {}",
                                     model.string(), name, fmt::join(known, ", ")));
  }
  return found->second(model);
}

}  // namespace eav
