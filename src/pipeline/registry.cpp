#include "pipeline/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <map>

#include "models/cogvideox/pipeline.h"
#include "models/hunyuan_video/pipeline.h"
#include "models/ltx_video/pipeline.h"
#include "models/ltx_video/single_file.h"
#include "models/open_sora/pipeline.h"
#include "weights/config.h"

namespace eav {
namespace {

template <class Pipeline>
std::unique_ptr<Family> open(const std::filesystem::path& model) {
  return std::make_unique<Pipeline>(model);
}

const std::map<std::string, std::unique_ptr<Family> (*)(const std::filesystem::path&)>& families() {
  static const std::map<std::string, std::unique_ptr<Family> (*)(const std::filesystem::path&)> known{
      {"CogVideoXPipeline", open<cogvideox::Pipeline>},
      {"HunyuanVideoImageToVideoPipeline", open<hunyuan_video::Pipeline>},
      {"HunyuanVideoPipeline", open<hunyuan_video::Pipeline>},
      {"LTXConditionPipeline", open<ltx_video::Pipeline>},
      {"LTXImageToVideoPipeline", open<ltx_video::Pipeline>},
      {"LTXPipeline", open<ltx_video::Pipeline>},
  };
  return known;
}

}  // namespace

std::unique_ptr<Family> open_family(const ModelPaths& paths) {
  const auto& model = paths.model;
  const auto index = model / "model_index.json";
  if (std::filesystem::is_regular_file(model) && model.extension() == ".safetensors")
    return std::make_unique<ltx_video::Pipeline>(ltx_video::open_single_file(paths));
  if (!std::filesystem::is_directory(model))
    throw Error(fmt::format(
        "{}: is neither a folder nor a .safetensors file; a checkpoint is a folder with a model_index.json, or "
        "LTX-Video's original single file",
        model.string()));
  if (open_sora::Parts::are_in(model)) return std::make_unique<open_sora::Pipeline>(open_sora::Parts::find(paths));
  for (const auto& [option, path] : {std::pair{"--vae", paths.vae}, {"--text-encoder", paths.text_encoder}})
    if (!path.empty())
      throw Error(fmt::format("{}: is a folder with all parts of a model: leave {} out", model.string(), option));
  if (!std::filesystem::exists(index))
    throw Error(fmt::format("{}: is no checkpoint: it has no model_index.json (diffusers' save_pretrained writes one)",
                            model.string()));
  const auto name = JsonFile(index).get<std::string>("_class_name");
  const auto found = families().find(name);
  if (found == families().end()) {
    std::vector<std::string> known;
    for (const auto& [family, opener] : families()) known.push_back(family);
    throw Error(fmt::format("{}: is of the family {}, which is not supported; supported are: {}", model.string(), name,
                            fmt::join(known, ", ")));
  }
  return found->second(model);
}

}  // namespace eav
