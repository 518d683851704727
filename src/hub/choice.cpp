#include "hub/choice.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <set>

#include "eav/error.h"
#include "eav/hub.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

// Folders beside a model_index.json.
constexpr std::array kParts{"image_encoder", "image_processor", "scheduler",   "text_encoder",  "text_encoder_2",
                            "tokenizer",     "tokenizer_2",     "transformer", "transformer_2", "vae"};
// Folders of Wan's own repositories.
constexpr std::array kOfWan{"google/umt5-xxl", "high_noise_model", "low_noise_model"};
constexpr std::array kSettings{"config.json",
                               "scheduler_config.json",
                               "preprocessor_config.json",
                               "spiece.model",
                               "tokenizer.json",
                               "tokenizer_config.json",
                               "vocab.json",
                               "merges.txt",
                               "added_tokens.json",
                               "special_tokens_map.json",
                               "model_index.json",
                               "eav.json"};
constexpr std::array kStems{"diffusion_pytorch_model", "model"};

// The files of a repository by their folders: "vae" -> {"config.json", …}; "" is its root.
using Folders = std::map<std::string, std::vector<std::string>>;

Folders folders_of(const Listing& listing) {
  Folders folders;
  for (const auto& file : listing.files) {
    const auto slash = file.path.rfind('/');
    const bool in_root = slash == std::string::npos;
    folders[in_root ? "" : file.path.substr(0, slash)].push_back(in_root ? file.path : file.path.substr(slash + 1));
  }
  return folders;
}

std::string below(const std::string& folder, const std::string& name) {
  return folder.empty() ? name : folder + "/" + name;
}

class Chooser {
 public:
  explicit Chooser(const Listing& listing) : listing_(listing), folders_(folders_of(listing)) {}

  bool has(const std::string& file) const {
    return std::ranges::find(listing_.files, file, &ListedFile::path) != listing_.files.end();
  }
  bool has_folder(const std::string& folder) const {
    return std::ranges::any_of(listing_.files, [&](const auto& f) { return f.path.starts_with(folder + "/"); });
  }

  // One file, with what is read beside it.
  void take_file(const std::string& file) {
    wanted_.insert(file);
    const auto slash = file.rfind('/');
    const auto folder = slash == std::string::npos ? "" : file.substr(0, slash);
    const auto name = slash == std::string::npos ? file : file.substr(slash + 1);
    for (const auto& shard : shards_among(folders_.at(folder), name)) wanted_.insert(below(folder, shard));
    if (const auto config = below(folder, "adapter_config.json"); name == "adapter_model.safetensors" && has(config))
      wanted_.insert(config);  // a LoRA's strength, as PEFT keeps it
  }

  // What is read of one folder; whether weights are among it.
  bool take_part(const std::string& folder) {
    const auto found = folders_.find(folder);
    if (found == folders_.end()) return false;
    const auto& names = found->second;
    for (const auto* name : kSettings)
      if (std::ranges::find(names, name) != names.end()) wanted_.insert(below(folder, name));
    bool has_weights = false;
    for (const auto* stem : kStems)
      if (const auto weights = weights_among(names, stem); !weights.empty()) {
        take_file(below(folder, weights.front()));
        has_weights = true;
      }
    if (!has_weights)
      for (const auto& name : names)
        if (is_pickled(name)) pickled_.push_back(below(folder, name));
    return has_weights;
  }

  // A folder with a model or a part in it; whether it is one.
  bool take_folder(const std::string& folder) {
    if (has(below(folder, "model_index.json"))) {
      for (const auto* name : {"model_index.json", "eav.json"})
        if (const auto file = below(folder, name); has(file)) wanted_.insert(file);
      for (const auto* part : kParts) take_part(below(folder, part));
      return true;
    }
    bool has_weights = take_part(folder);
    for (const auto* part : kOfWan) has_weights = take_part(below(folder, part)) || has_weights;
    return has_weights;
  }

  // The files of weights below a folder that are models by themselves.
  std::vector<RemoteFile> single_files(const std::string& folder) const {
    std::vector<RemoteFile> files;
    for (const auto& [path, size, etag] : listing_.files) {
      const bool inside = folder.empty() || path.starts_with(folder + "/");
      if (inside && is_single_file(path)) files.push_back({path, size});
    }
    return files;
  }

  bool has_settings() const { return !wanted_.empty(); }
  void forget() { wanted_.clear(); }

  Choice chosen(std::string path) && {
    Choice choice{.files = {}, .path = std::move(path), .pickled = std::move(pickled_)};
    for (const auto& file : listing_.files)
      if (wanted_.contains(file.path)) choice.files.push_back(file);
    return choice;
  }
  const std::vector<std::string>& pickled() const { return pickled_; }

 private:
  const Listing& listing_;
  Folders folders_;
  std::set<std::string> wanted_;
  std::vector<std::string> pickled_;
};

}  // namespace

bool is_model_folder(std::string_view name) { return std::ranges::find(kParts, name) != kParts.end(); }

Choice choose_files(const Listing& listing, const HubName& name) {
  Chooser chooser(listing);
  if (chooser.has(name.path)) {
    if (is_pickled(name.path))
      throw Error(fmt::format("{}: holds pickled objects, which are never read: take a .safetensors or .gguf file",
                              name.str()));
    chooser.take_file(name.path);
    return std::move(chooser).chosen(name.path);
  }
  if (!name.path.empty() && !chooser.has_folder(name.path))
    throw Error(fmt::format("{} has no file and no folder '{}': `eav pull {}` lists or fetches what it has",
                            name.repository, name.path, name.repository));
  if (chooser.take_folder(name.path)) return std::move(chooser).chosen(name.path);

  auto files = chooser.single_files(name.path);
  if (files.size() == 1) {
    chooser.forget();
    chooser.take_file(files[0].path);
    return std::move(chooser).chosen(files[0].path);
  }
  if (!files.empty()) {
    const auto example = fmt::format("`eav pull {}:{}`", name.repository, files[0].path);
    throw SeveralFiles(fmt::format("{} holds several files: name one, as in {}", name.str(), example),
                       std::move(files));
  }
  if (chooser.has_settings() && !name.path.empty() && chooser.pickled().empty())
    return std::move(chooser).chosen(name.path);  // a tokenizer
  const auto& pickled = chooser.pickled();
  throw Error(fmt::format(
      "{} holds nothing that is read here: no model_index.json, and no .safetensors or .gguf file{}", name.str(),
      pickled.empty() ? ""
                      : fmt::format("; {} holds pickled objects, which are never read", fmt::join(pickled, ", "))));
}

}  // namespace eav
