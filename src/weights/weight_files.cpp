#include "weights/weight_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <ranges>
#include <string_view>
#include <vector>

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".safetensors", kIndex = ".safetensors.index.json", kGguf = ".gguf";

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

// "fp16" of "model.fp16.safetensors" for the beginning "model."; empty where the name is of another kind.
std::string between(const std::string& name, const std::string& begin, std::string_view end) {
  if (!name.starts_with(begin) || !name.ends_with(end) || name.size() <= begin.size() + end.size()) return "";
  return name.substr(begin.size(), name.size() - begin.size() - end.size());
}

bool is_shard(const std::string& name) { return name.find("-of-") != std::string::npos; }

// "model.fp16.safetensors" of its shards "model.fp16-00001-of-00002.safetensors" and
// "model-00001-of-00002.fp16.safetensors"; empty for other names.
std::string whole_of(const std::string& shard) {
  const auto of = shard.find("-of-");
  if (of == std::string::npos) return "";
  const auto is_digit = [](unsigned char c) { return std::isdigit(c) != 0; };
  auto begin = of, end = of + 4;
  while (begin > 0 && is_digit(shard[begin - 1])) --begin;
  while (end < shard.size() && is_digit(shard[end])) ++end;
  if (begin == of || begin == 0 || shard[begin - 1] != '-' || end == of + 4) return "";
  return shard.substr(0, begin - 1) + shard.substr(end);
}

// The command that writes a part's pickled weights again.
std::string conversion(const fs::path& folder, const std::string& stem) {
  std::string name;
  if (fs::exists(folder / "config.json")) {
    const JsonFile config(folder / "config.json");
    name = config.get<std::string>("_class_name", "");
    if (const auto names = config.get<std::vector<std::string>>("architectures", {}); !names.empty()) name = names[0];
  }
  const auto in_names = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; };
  if (name.empty() || !std::ranges::all_of(name, in_names)) name = "AutoModel";
  return fmt::format(
      "python -c \"from {0} import {1}; {1}.from_pretrained('{2}', use_safetensors=False).save_pretrained('{2}')\"",
      stem == "model" ? "transformers" : "diffusers", name, folder.string());
}

// What a folder without weights as they are wanted has instead.
Error nothing_to_open(const fs::path& folder, const std::string& stem) {
  const auto files = files_in(folder);
  const auto first = [&](auto matches) {
    const auto found = std::ranges::find_if(files, matches);
    return found == files.end() ? std::string() : found->filename().string();
  };
  const auto neither = fmt::format("{}: has neither {}{} nor {}{}", folder.string(), stem, kSuffix, stem, kIndex);
  if (const auto part = first([](const fs::path& f) { return f.extension() == ".incomplete"; }); !part.empty())
    return Error(fmt::format("{}, but '{}', a download that did not finish: download it again", neither, part));
  if (const auto shard = first([](const fs::path& f) { return f.extension() == kSuffix && is_shard(f.filename()); });
      !shard.empty())
    return Error(fmt::format("{}, but shards such as '{}' without their index: download that too", neither, shard));
  if (const auto pickled = first(is_pickled); !pickled.empty())
    return Error(fmt::format("{}, but '{}', which holds pickled objects: convert it to safetensors with: {}", neither,
                             pickled, conversion(folder, stem)));
  return Error(neither);
}

}  // namespace

std::map<std::string, std::string> read_index(const JsonFile& index) {
  const auto path = index.path().string();
  if (!index.has("weight_map") || !index.json()["weight_map"].is_object())
    throw Error(fmt::format("{}: \"weight_map\" is missing or no object", path));
  std::map<std::string, std::string> files;
  for (const auto& [key, file] : index.json()["weight_map"].items()) {
    if (!file.is_string()) throw Error(fmt::format("{}: the file of \"{}\" is no string", path, key));
    const auto name = file.get<std::string>();
    if (fs::path(name).has_parent_path())
      throw Error(fmt::format("{}: the file of \"{}\" must lie beside the index, not at {}", path, key, name));
    files[key] = name;
  }
  return files;
}

bool is_pickled(const fs::path& file) {
  static constexpr std::array kSuffixes{".bin", ".ckpt", ".pt", ".pth"};
  return std::ranges::find(kSuffixes, file.extension()) != kSuffixes.end();
}

bool is_single_file(const fs::path& file) {
  return file.extension() == kGguf || (file.extension() == kSuffix && whole_of(file.filename().string()).empty());
}

std::vector<std::string> weights_among(const std::vector<std::string>& names, const std::string& stem) {
  for (const auto suffix : {kSuffix, kIndex, kGguf})
    if (auto name = stem + std::string(suffix); std::ranges::find(names, name) != names.end()) return {std::move(name)};
  std::map<std::string, std::string> variants;
  for (const auto& name : names) {
    if (const auto whole = between(name, stem + ".", kSuffix); !whole.empty() && !is_shard(whole))
      variants.insert_or_assign(whole, name);
    else if (const auto indexed = between(name, stem + ".safetensors.index.", ".json"); !indexed.empty())
      variants.emplace(indexed, name);
  }
  std::vector<std::string> found;
  for (const auto& name : variants | std::views::values) found.push_back(name);
  return found;
}

std::vector<std::string> shards_among(const std::vector<std::string>& names, const std::string& index) {
  const auto suffix = index.find(".safetensors.index");
  if (suffix == std::string::npos || !index.ends_with(".json")) return {};
  const auto variant = between(index, index.substr(0, suffix) + ".safetensors.index.", ".json");
  const auto whole = fmt::format("{}{}{}.safetensors", index.substr(0, suffix), variant.empty() ? "" : ".", variant);
  std::vector<std::string> shards;
  for (const auto& name : names)
    if (whole_of(name) == whole) shards.push_back(name);
  return shards;
}

WeightFiles find_weight_files(const fs::path& folder, const std::string& stem) {
  std::vector<std::string> names;
  for (const auto& file : files_in(folder))
    if (fs::exists(file)) names.push_back(file.filename().string());
  const auto found = weights_among(names, stem);
  if (found.empty()) throw nothing_to_open(folder, stem);
  if (found.size() == 1) return {folder / found[0], found[0].ends_with(".json")};
  throw Error(fmt::format("{}: has no {}{}, and several variants of it: {}; leave one of them in the folder",
                          folder.string(), stem, kSuffix, fmt::join(found, ", ")));
}

}  // namespace eav
