#include "pipeline/comfyui.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>
#include <sstream>
#include <vector>

#include "base/regular_file.h"
#include "pipeline/registry.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

// Kinds of folders by the options that are looked up in them; checkpoints hold several parts.
const std::map<std::string, std::vector<std::string>>& kinds() {
  static const std::map<std::string, std::vector<std::string>> kinds{
      {"model", {"diffusion_models", "unet", "checkpoints"}},
      {"model_2", {"diffusion_models", "unet"}},
      {"vae", {"vae"}},
      {"text_encoder", {"text_encoders", "clip"}},
      {"text_encoder_2", {"text_encoders", "clip"}},
      {"image_encoder", {"clip_vision"}},
      {"latent_upscaler", {"latent_upscale_models", "upscale_models"}},
  };
  return kinds;
}

std::string trimmed(std::string text) {
  const auto space = " \t\r\"'";
  text.erase(0, std::min(text.find_first_not_of(space), text.size()));
  text.erase(text.find_last_not_of(space) + 1);
  return text;
}

// A path as the file of paths writes it: "~" is the home folder.
fs::path expanded(const std::string& text, const fs::path& base) {
  const auto* home = std::getenv("HOME");
  if (text.starts_with("~/") && home != nullptr) return fs::path(home) / text.substr(2);
  return base / text;
}

// Kind of folder -> folders, as extra_model_paths.yaml lists them: sections of "kind: folder", or "kind: |" with a
// folder a line behind it; "base_path" is what the others of a section are below.
void read_extra_paths(const fs::path& file, std::map<std::string, std::vector<fs::path>>& folders) {
  if (!fs::exists(file)) return;
  std::istringstream text(read_file(file));
  const auto root = file.parent_path();
  std::map<std::string, std::vector<std::string>> section;
  const auto finish = [&] {
    const auto base = section.contains("base_path") && !section["base_path"].empty()
                          ? expanded(section["base_path"].front(), root)
                          : root;
    for (const auto& [kind, listed] : section)
      for (const auto& folder : listed)
        if (kind != "base_path") folders[kind].push_back(expanded(folder, base));
    section.clear();
  };
  std::string kind;
  size_t kind_depth = 0;
  for (std::string line; std::getline(text, line);) {
    const auto content = trimmed(line.substr(0, line.find(" #")));
    if (content.empty() || content.starts_with('#')) continue;
    const auto depth = line.find_first_not_of(" \t");
    const auto colon = content.find(':');
    if (depth == 0) {
      finish();
      kind.clear();
    } else if (!kind.empty() && depth > kind_depth) {
      section[kind].push_back(content);
    } else if (colon != std::string::npos) {
      kind = trimmed(content.substr(0, colon)), kind_depth = depth;
      const auto value = trimmed(content.substr(colon + 1));
      if (value == "|" || value == ">" || value.empty()) continue;
      section[kind].push_back(value);
    }
  }
  finish();
}

// The folders of ComfyUI, by their kinds.
std::map<std::string, std::vector<fs::path>> folders_of(const fs::path& comfyui) {
  if (!fs::is_directory(comfyui / "models"))
    throw Error("comfyui", fmt::format("{}: is no folder of ComfyUI, as there is no models/ in it", comfyui.string()));
  std::map<std::string, std::vector<fs::path>> folders;
  for (const auto& [option, names] : kinds())
    for (const auto& name : names)
      if (auto& listed = folders[name]; listed.empty()) listed.push_back(comfyui / "models" / name);
  read_extra_paths(comfyui / "extra_model_paths.yaml", folders);
  return folders;
}

// The files of tensors in the folders for an option.
std::vector<fs::path> files_for(const std::string& option,
                                const std::map<std::string, std::vector<fs::path>>& folders) {
  std::set<fs::path> files;
  for (const auto& kind : kinds().at(option))
    for (const auto& folder : folders.at(kind)) {
      std::error_code ignored;
      for (const auto& entry :
           fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink, ignored))
        if (is_weight_file(entry.path())) files.insert(entry.path());
    }
  return {files.begin(), files.end()};
}

std::string listed(const std::vector<fs::path>& files) {
  std::vector<std::string> names;
  for (const auto& file : files) names.push_back(file.string());
  return fmt::format("{}", fmt::join(names, ", "));
}

bool fits(const Need& need, const fs::path& file) {
  try {
    return need.find(FileTable(file)).has_value();
  } catch (const Error&) {  // a damaged file, or another model's
    return false;
  }
}

}  // namespace

FoundInComfyui find_in_comfyui(ModelPaths paths) {
  const auto folders = folders_of(paths.comfyui);
  std::vector<std::string> taken;
  const auto take = [&](const std::string& option, fs::path& to, const fs::path& file) {
    to = file;
    taken.push_back(fmt::format("{} {}", option, file.string()));
  };
  // Names without a folder are those of files there.
  for (const auto& [option, member] : ModelPaths::members()) {
    auto& path = paths.*member;
    if (path.empty() || fs::exists(path) || !kinds().contains(option)) continue;
    std::vector<fs::path> named;
    for (const auto& file : files_for(option, folders))
      if (file.filename() == path.filename() && file.string().ends_with(path.string())) named.push_back(file);
    if (named.size() > 1)
      throw Error(option, fmt::format("several files in {} are called {}: give one of {}", paths.comfyui.string(),
                                      path.string(), listed(named)));
    if (named.size() == 1) take(option, path, named[0]);
  }
  if (!is_weight_file(paths.model)) return {std::move(paths), fmt::format("{}", fmt::join(taken, ", "))};

  const FileTable model(paths.model);
  for (const auto& need : needs_of(model)) {
    const auto member = std::ranges::find(ModelPaths::members(), need.option, [](const auto& m) { return m.first; });
    auto& path = paths.*member->second;
    if (!path.empty()) continue;
    if (need.option == "model_2") {  // the expert of the same name for low noise
      auto name = paths.model.filename().string();
      const auto at = name.find("high_noise");
      if (at == std::string::npos) continue;
      const auto other = paths.model.parent_path() / name.replace(at, 4, "low");
      if (fs::exists(other)) take(need.option, path, other);
      continue;
    }
    if (const auto own = paths.comfyui / need.in_comfyui; !need.in_comfyui.empty() && fs::is_directory(own)) {
      if (fs::is_regular_file(paths.text_encoder)) path = own;
      continue;
    }
    if (!need.find || !need.only_if.empty() || need.find(model)) continue;
    std::vector<fs::path> fitting;
    for (const auto& file : files_for(need.option, folders))
      if (fits(need, file)) fitting.push_back(file);
    if (fitting.empty())
      throw Error(need.option,
                  fmt::format("{}: has no {} in models/{}: such a file is {}", paths.comfyui.string(), need.what,
                              fmt::join(kinds().at(need.option), "/ or models/"), need.example));
    if (fitting.size() > 1)
      throw Error(need.option, fmt::format("{}: several files are a {}: name one of {} by `{}`", paths.comfyui.string(),
                                           need.what, listed(fitting), need.option));
    take(need.option, path, fitting[0]);
  }
  return {std::move(paths), fmt::format("{}", fmt::join(taken, ", "))};
}

}  // namespace eav
