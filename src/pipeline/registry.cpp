#include "pipeline/registry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <functional>
#include <map>

#include "models/cogvideox/family.h"
#include "models/hunyuan_video/family.h"
#include "models/hunyuan_video/single_file.h"
#include "models/ltx_video/family.h"
#include "models/ltx_video/single_file.h"
#include "models/open_sora/family.h"
#include "models/wan/family.h"
#include "models/wan/single_file.h"
#include "pipeline/model_path.h"
#include "weights/config.h"
#include "weights/file_table.h"

namespace eav {
namespace {

template <class Model>
std::shared_ptr<Family> open(const ModelPaths& paths) {
  return std::make_shared<FamilyOf<Model>>(paths.model);
}

// One that takes parts beside its folder.
template <class Model>
std::shared_ptr<Family> open_with_parts(const ModelPaths& paths) {
  return std::make_shared<FamilyOf<Model>>(paths);
}

using Open = std::shared_ptr<Family> (*)(const ModelPaths&);

const std::map<std::string, Open>& families_by_class() {
  static const std::map<std::string, Open> known{
      {"CogVideoXPipeline", open<cogvideox::Model>},
      {"HunyuanVideoImageToVideoPipeline", open<hunyuan_video::Model>},
      {"HunyuanVideoPipeline", open<hunyuan_video::Model>},
      {"LTXConditionPipeline", open_with_parts<ltx_video::Model>},
      {"LTXImageToVideoPipeline", open_with_parts<ltx_video::Model>},
      {"LTXPipeline", open_with_parts<ltx_video::Model>},
      {"WanImageToVideoPipeline", open<wan::Model>},
      {"WanPipeline", open<wan::Model>},
      {"WanVideoToVideoPipeline", open<wan::Model>},
  };
  return known;
}

// ---- single files ---------------------------------------------------------------------------------------------------

// What families know of files.
struct FileFamily {
  using Find = std::optional<FilePart> (*)(const FileTable& file);
  Find transformer_in, vae_in;
  std::vector<Need> (*needs_of)(const FileTable& file);
  std::shared_ptr<Family> (*open)(const ModelPaths& paths, const FileTable& file);
};

template <class Model, auto open_single_file>
std::shared_ptr<Family> open_with(const ModelPaths& paths, const FileTable& file) {
  return std::make_shared<FamilyOf<Model>>(open_single_file(paths, file));
}

constexpr FileFamily kFileFamilies[]{
    {wan::transformer_in, wan::vae_in, wan::needs_of, open_with<wan::Model, wan::open_single_file>},
    {hunyuan_video::transformer_in, hunyuan_video::vae_in, hunyuan_video::needs_of,
     open_with<hunyuan_video::Model, hunyuan_video::open_single_file>},
    {ltx_video::transformer_in, ltx_video::vae_in, ltx_video::needs_of,
     open_with<ltx_video::Model, ltx_video::open_single_file>},
};

// The parts of a file, the transformer first.
std::vector<FilePart> parts_of(const FileTable& file) {
  std::vector<FilePart> parts;
  const auto look = [&](FileFamily::Find find) {
    if (auto part = find(file)) parts.push_back(std::move(*part));
  };
  for (const auto& family : kFileFamilies) look(family.transformer_in);
  for (const auto& family : kFileFamilies) look(family.vae_in);
  for (const auto find : {t5_in, llama_in, clip_text_in, clip_vision_in, ltx_video::latent_upsampler_in}) look(find);
  return parts;
}

Error nothing_known(const FileTable& file) {
  return Error("model",
               fmt::format("{}: holds no part of a model that is known: no transformer, VAE or encoder of Wan, "
                           "HunyuanVideo or LTX-Video",
                           file.path().string()));
}

// Whether a folder is one of Wan's own repositories, with a transformer in shards under its original names.
bool is_of_wan(const std::filesystem::path& folder) {
  const auto config = folder / "config.json";
  return std::filesystem::exists(config) && JsonFile(config).get<std::string>("_class_name", "") == "WanModel";
}

// A folder whose model_index.json names a pipeline.
std::shared_ptr<Family> open_pipeline(const ModelPaths& paths) {
  const auto& model = paths.model;
  const auto name = JsonFile(model / "model_index.json").get<std::string>("_class_name");
  const auto found = families_by_class().find(name);
  if (found != families_by_class().end()) return found->second(paths);
  if (name == "LTXLatentUpsamplePipeline")
    throw Error("model", fmt::format("{}: is the latent upscaler of LTX-Video: name it by `latent_upscaler`, beside a "
                                     "`model`",
                                     model.string()));
  std::vector<std::string> known;
  for (const auto& [family, opener] : families_by_class()) known.push_back(family);
  throw Error("model", fmt::format("{}: is of the family {}, which is not supported; supported are: {}", model.string(),
                                   name, fmt::join(known, ", ")));
}

std::shared_ptr<Family> open_file(const ModelPaths& paths) {
  const auto file = open_table(paths.model, "model", "a safetensors file");
  for (const auto& family : kFileFamilies)
    if (family.transformer_in(file)) return family.open(paths, file);
  std::vector<std::string> held;
  for (const auto& part : parts_of(file)) held.push_back(part.what);
  if (held.empty()) throw nothing_known(file);
  throw Error("model", fmt::format("{}: has no transformer, but {}: name a file with a transformer as `model`",
                                   paths.model.string(), fmt::join(held, " and ")));
}

}  // namespace

bool is_weight_file(const std::filesystem::path& path) {
  if (path.extension() == ".json") return path.filename().string().ends_with(".safetensors.index.json");
  return std::filesystem::is_regular_file(path) && (path.extension() == ".safetensors" || path.extension() == ".gguf");
}

std::vector<Need> needs_of(const FileTable& file) {
  for (const auto& family : kFileFamilies)
    if (family.transformer_in(file)) return family.needs_of(file);
  return {};
}

FileInspection inspect_file(const std::filesystem::path& path) {
  const FileTable file(path);
  FileInspection inspection;
  for (const auto& [source, what] : parts_of(file)) {
    auto part = describe(source, FileTable(source.tensors).checkpoint());
    part.kind = what;
    inspection.parts.push_back(std::move(part));
  }
  if (inspection.parts.empty()) throw nothing_known(file);
  for (const auto& need : needs_of(file))
    if (!need.find || !need.find(file))
      inspection.needs.push_back(fmt::format("{} by `{}`, such as {}{}{}", need.what, need.option, need.example,
                                             need.only_if.empty() ? "" : ", ", need.only_if));
  return inspection;
}

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

namespace {

std::shared_ptr<Family> open_any(const ModelPaths& paths) {
  const auto& model = paths.model;
  const auto index = model / "model_index.json";
  if (is_weight_file(model)) return open_file(paths);
  if (const auto first = model / "high_noise_model"; !std::filesystem::exists(index) && is_of_wan(first)) {
    auto experts = paths;  // a repository of Wan 2.2's own
    experts.model = first;
    if (paths.model_2.empty()) experts.model_2 = model / "low_noise_model";
    return open_file(experts);
  }
  if (is_of_wan(model)) return open_file(paths);
  if (!std::filesystem::is_directory(model)) {
    const auto advice = advice_for(model);
    throw Error("model", fmt::format("{}: is neither a folder nor a .safetensors or .gguf file{}", model.string(),
                                     !advice.empty() ? advice
                                                     : "; a checkpoint is a folder with a model_index.json, or a "
                                                       "single file of a transformer"));
  }
  if (open_sora::Layout::is_in(model)) return std::make_shared<FamilyOf<open_sora::Model>>(paths);
  for (const auto& [option, member] : ModelPaths::members())
    if (!(paths.*member).empty() && member != &ModelPaths::model && member != &ModelPaths::comfyui &&
        member != &ModelPaths::latent_upscaler)
      throw Error(option,
                  fmt::format("{}: is a folder with all parts of a model: leave `{}` out", model.string(), option));
  if (!std::filesystem::exists(index))
    throw Error("model", fmt::format("{}: is no checkpoint, as it has no model_index.json (diffusers' save_pretrained "
                                     "writes one){}",
                                     model.string(), advice_for(model)));
  return open_pipeline(paths);
}

}  // namespace

std::shared_ptr<Family> open_family(const ModelPaths& paths) {
  auto family = open_any(paths);
  if (!paths.latent_upscaler.empty() && family->name() != ltx_video::Model::kFamily)
    throw Error("latent_upscaler",
                fmt::format("{}: is a {}, and LTX-Video alone takes a latent upscaler: leave `latent_upscaler` out",
                            paths.model.string(), family->name()));
  return family;
}

}  // namespace eav
