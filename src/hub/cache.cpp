#include "hub/cache.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <system_error>

#include "eav/error.h"
#include "eav/files.h"
#include "hub/choice.h"
#include "weights/weight_files.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostNamed = 5;

// A folder of the environment, in which "~" is the user's.
std::optional<fs::path> folder_of(const char* variable) {
  const auto text = from_environment(variable);
  if (!text) return std::nullopt;
  const auto home = from_environment("HOME");
  if (home && (*text == "~" || text->starts_with("~/"))) return *home + text->substr(1);
  return *text;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

std::vector<std::string> folders_in(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (entry.is_directory(ignored)) names.push_back(entry.path().filename().string());
  std::ranges::sort(names);
  return names;
}

std::string listed(std::vector<std::string> names) {
  const auto count = names.size();
  names.resize(std::min(count, kMostNamed));
  return fmt::format("{}{}", fmt::join(names, ", "), count > kMostNamed ? ", …" : "");
}

// Whether what describes a model or a part lies in the snapshot itself.
bool has_configuration(const fs::path& snapshot) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(snapshot, ignored))
    if (const auto suffix = entry.path().extension(); suffix == ".json" || suffix == ".model") return true;
  return is_there(snapshot / "high_noise_model");
}

// Files of weights that are no part of a folder with a configuration.
std::vector<std::string> single_files_in(const fs::path& snapshot) {
  std::vector<std::string> files;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(snapshot, ignored))
    if (entry.is_regular_file(ignored) && is_single_file(entry.path()) &&
        !is_there(entry.path().parent_path() / "config.json"))
      files.push_back(entry.path().lexically_relative(snapshot).string());
  std::ranges::sort(files);
  return files;
}

Error not_there(const HubName& name) {
  return Error("model",
               fmt::format("{0}: there is no such file or folder, and the hub's cache {1} has none of that name: "
                           "`eav pull {0}` fetches it from the hub",
                           name.str(), hub_cache().string()));
}

// What the files of a snapshot name that is not there, whoever fetched them: parts, and shards of an index.
std::vector<std::string> missing_in(const fs::path& snapshot) {
  std::vector<std::string> missing;
  if (const auto path = snapshot / "model_index.json"; is_there(path)) {
    const JsonFile index(path);
    for (const auto& [part, is] : index.json().items()) {
      const bool is_used = is.is_array() && !is.empty() && is.front().is_string();  // [null, null]: there is none
      if (is_used && is_model_folder(part) && !is_there(snapshot / part)) missing.push_back(part + "/");
    }
  }
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(snapshot, ignored)) {
    if (!entry.path().filename().string().ends_with(".safetensors.index.json") || !is_there(entry.path())) continue;
    std::set<std::string> shards;
    for (const auto& [key, shard] : read_index(JsonFile(entry.path()))) shards.insert(shard);
    for (const auto& shard : shards)
      if (const auto path = entry.path().parent_path() / shard; !is_there(path))
        missing.push_back(path.lexically_relative(snapshot).string());
  }
  return missing;
}

// Throws where a pull of the repository, or another program, has not fetched all of what is asked for.
void check_whole(const HubName& name, const CachedRepository& cached, const fs::path& snapshot) {
  const auto below = name.path.empty() ? "" : name.path + "/";
  std::vector<std::string> missing;
  for (const auto& path : cached.wanted(snapshot.filename().string()))
    if (path.starts_with(below) && !is_there(snapshot / path)) missing.push_back(path);
  if (missing.empty() && name.path.empty()) missing = missing_in(snapshot);
  if (!missing.empty())
    throw Error(
        "model",
        fmt::format("{}: its download did not finish, {} {} missing ({}): `eav pull {}` goes on with it", name.str(),
                    missing.size(), missing.size() == 1 ? "file is" : "files are", listed(missing), name.repository));
}

}  // namespace

std::optional<std::string> from_environment(const char* variable) {
  const auto* value = std::getenv(variable);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

fs::path hub_home() {
  if (auto home = folder_of("HF_HOME")) return *home;
  if (auto caches = folder_of("XDG_CACHE_HOME")) return *caches / "huggingface";
  return fs::path(from_environment("HOME").value_or("/")) / ".cache" / "huggingface";
}

fs::path hub_cache() { return folder_of("HF_HUB_CACHE").value_or(hub_home() / "hub"); }

CachedRepository CachedRepository::of(const std::string& repository) {
  auto name = "models--" + repository;
  name.replace(name.find('/'), 1, "--");
  return CachedRepository(hub_cache() / name);
}

fs::path CachedRepository::lock(const std::string& etag) const {
  return root_.parent_path() / ".locks" / root_.filename() / (etag + ".lock");
}

std::optional<fs::path> CachedRepository::current() const {
  std::string main;
  std::ifstream(ref("main")) >> main;
  const auto names = folders_in(snapshots());
  if (std::ranges::find(names, main) != names.end()) return snapshot(main);
  if (names.size() == 1) return snapshot(names[0]);
  if (names.empty()) return std::nullopt;
  throw Error("model", fmt::format("{}: refs/main names none of its snapshots: give one of them, {} with {}",
                                   root_.string(), snapshots().string(), listed(names)));
}

void CachedRepository::keep_wanted(const std::string& commit, const std::vector<std::string>& paths) const {
  if (wanted(commit) != paths) write_file(own() / commit, fmt::format("{}\n", fmt::join(paths, "\n")));
}

std::vector<std::string> CachedRepository::wanted(const std::string& commit) const {
  std::vector<std::string> paths;
  std::ifstream file(own() / commit);
  for (std::string line; std::getline(file, line);) paths.push_back(line);
  return paths;
}

bool is_cached(const HubName& name) { return is_there(CachedRepository::of(name.repository).snapshots()); }

fs::path find_in_cache(const HubName& name) {
  const auto cached = CachedRepository::of(name.repository);
  const auto snapshot = cached.current();
  if (!snapshot) throw not_there(name);
  check_whole(name, cached, *snapshot);
  if (!name.path.empty()) {
    if (!is_there(*snapshot / name.path)) throw not_there(name);
    return *snapshot / name.path;
  }
  if (has_configuration(*snapshot)) return *snapshot;
  const auto files = single_files_in(*snapshot);
  if (files.size() == 1) return *snapshot / files[0];
  if (files.empty()) throw not_there(name);
  throw Error("model", fmt::format("{0}: the hub's cache has {1} of it: give one of them, as in {0}:{2}", name.str(),
                                   listed(files), files[0]));
}

}  // namespace eav
