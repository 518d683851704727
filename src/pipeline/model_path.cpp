#include "pipeline/model_path.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <system_error>
#include <vector>

#include "eav/error.h"
#include "eav/hub.h"
#include "hub/cache.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> entries_of(const fs::path& folder) {
  std::vector<fs::path> entries;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) entries.push_back(entry.path());
  std::ranges::sort(entries);
  return entries;
}

template <class Matches>
std::vector<std::string> names_in(const fs::path& folder, const Matches& matches) {
  std::vector<std::string> names;
  for (const auto& path : entries_of(folder))
    if (matches(path)) names.push_back(path.filename().string());
  return names;
}

// Of files of pickled objects that releases have, those in safetensors that hold the same; empty for others.
std::string same_as(const fs::path& pickled) {
  const auto name = pickled.filename().string();
  if (name.starts_with("mp_rank_00_model_states"))
    return "the model's safetensors files, of HunyuanVideo hunyuan_video_t2v_720p_bf16.safetensors";
  if (name.starts_with("Wan2.1_VAE")) return "wan_2.1_vae.safetensors";
  if (name.starts_with("Wan2.2_VAE")) return "wan2.2_vae.safetensors";
  if (name.starts_with("models_t5_umt5-xxl")) return "umt5_xxl_fp16.safetensors";
  if (name.starts_with("models_clip_open-clip")) return "clip_vision_h.safetensors";
  return "";
}

std::string listed(std::vector<std::string> names) {
  constexpr size_t kMost = 5;
  const auto count = names.size();
  names.resize(std::min(count, kMost));
  return fmt::format("{}{}", fmt::join(names, ", "), count > kMost ? ", …" : "");
}

bool is_in_cache(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(folder / "snapshots", ignored) &&
         (folder.filename().string().starts_with("models--") || fs::is_directory(folder / "refs", ignored));
}

bool is_checkpoint(const fs::path& folder) {
  std::error_code ignored;
  return fs::exists(folder / "model_index.json", ignored) || is_in_cache(folder);
}

}  // namespace

const std::vector<std::pair<std::string, fs::path ModelPaths::*>>& ModelPaths::members() {
  static const std::vector<std::pair<std::string, fs::path ModelPaths::*>> members{
      {"model", &ModelPaths::model},
      {"vae", &ModelPaths::vae},
      {"text_encoder", &ModelPaths::text_encoder},
      {"text_encoder_2", &ModelPaths::text_encoder_2},
      {"image_encoder", &ModelPaths::image_encoder},
      {"tokenizer", &ModelPaths::tokenizer},
      {"model_2", &ModelPaths::model_2},
      {"latent_upscaler", &ModelPaths::latent_upscaler},
      {"comfyui", &ModelPaths::comfyui}};
  return members;
}

fs::path resolve_model_path(const fs::path& path) {
  std::error_code ignored;
  if (path.empty() || fs::exists(path / "model_index.json", ignored)) return path;
  if (is_in_cache(path)) {
    if (const auto snapshot = CachedRepository(path).current()) return *snapshot;
    throw Error("model", fmt::format("{}: holds no snapshot yet: the download has not begun", path.string()));
  }
  if (fs::exists(path, ignored)) return path;
  const auto name = parse_hub_name(path.string());
  // A mistyped file, such as models/wan.safetensors, is no repository.
  const bool is_file = name && name->path.empty() && (is_single_file(path) || is_pickled(path));
  return name && (!is_file || is_cached(*name)) ? find_in_cache(*name) : path;
}

ModelPaths resolve(ModelPaths paths) {
  const auto is_meant = [&](const fs::path& path) {
    if (paths.comfyui.empty()) return true;
    const auto name = parse_hub_name(path.string());
    return !name || is_cached(*name);
  };
  for (const auto& [option, member] : ModelPaths::members())
    if (is_meant(paths.*member)) paths.*member = resolve_model_path(paths.*member);
  for (auto& lora : paths.loras) lora.file = resolve_model_path(lora.file);
  return paths;
}

std::string advice_for(const fs::path& path) {
  if (path.extension() == ".incomplete") return ", but a download that did not finish: download it again";
  if (fs::is_regular_file(path) && is_pickled(path)) {
    if (const auto instead = same_as(path); !instead.empty())
      return fmt::format(", but a file of pickled objects, which are not read: take {} instead", instead);
    const auto name = path.string(), converted = fs::path(path).replace_extension(".safetensors").string();
    return fmt::format(
        ", but a file of pickled objects: convert it to safetensors with: python -c \"import torch, safetensors.torch; "
        "safetensors.torch.save_file(torch.load('{}', map_location='cpu', weights_only=True), '{}')\"",
        name, converted);
  }
  const auto parent = (fs::absolute(path) / "").lexically_normal().parent_path().parent_path();
  if (fs::exists(path / "config.json") && is_checkpoint(parent))
    return fmt::format(": it is a part of one, which is {}", parent.string());
  for (const auto& folder : {path, path / "hub"})
    if (const auto names = names_in(folder, is_checkpoint); !names.empty())
      return fmt::format(": give one of the folders in {}: {}", folder.string(), listed(names));
  const auto with = [](const char* suffix) { return [=](const fs::path& file) { return file.extension() == suffix; }; };
  if (const auto names = names_in(path, with(".safetensors")); !names.empty())
    return fmt::format(": give one of the files in it: {}", listed(names));
  if (const auto names = names_in(path, with(".incomplete")); !names.empty())
    return fmt::format(": a download of it did not finish: {}", listed(names));
  if (const auto names = names_in(path, is_pickled); !names.empty())
    return fmt::format(": it has files of pickled objects, which are to be converted to safetensors: {}",
                       listed(names));
  return "";
}

}  // namespace eav
