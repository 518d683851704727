// The hub's cache on this machine, which is shared with Python's huggingface_hub: for each repository a folder
// models--ORG--NAME with blobs/ETAG (the bytes), snapshots/COMMIT/PATH (links to them) and refs/REVISION (commits).
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "hub/name.h"

namespace eav {

class CachedRepository {
 public:
  explicit CachedRepository(std::filesystem::path root) : root_(std::move(root)) {}
  static CachedRepository of(const std::string& repository);  // "ORG/NAME", in hub_cache()

  std::filesystem::path blob(const std::string& etag) const { return root_ / "blobs" / etag; }
  // Locked while the blob is fetched, at the place where Python does so too.
  std::filesystem::path lock(const std::string& etag) const;
  std::filesystem::path ref(const std::string& revision) const { return root_ / "refs" / revision; }
  std::filesystem::path snapshots() const { return root_ / "snapshots"; }
  std::filesystem::path snapshot(const std::string& commit) const { return snapshots() / commit; }
  // For files on their way to another name.
  std::filesystem::path own() const { return root_ / ".eav"; }

  // The snapshot that refs/main names, or the only one; nothing where there is none. Throws eav::Error where several
  // could be meant.
  std::optional<std::filesystem::path> current() const;

  // The paths that a pull of the whole repository wants: kept from its beginning on, so that one that ended early is
  // told.
  void keep_wanted(const std::string& commit, const std::vector<std::string>& paths) const;
  std::vector<std::string> wanted(const std::string& commit) const;

 private:
  std::filesystem::path root_;
};

// Whether the cache has anything of the repository.
bool is_cached(const HubName& name);

// Where it lies in the cache; of a repository of which one file of weights is there, and no configuration, that file.
// Throws eav::Error, which names the command that fetches it, where it is not there or not whole.
std::filesystem::path find_in_cache(const HubName& name);

}  // namespace eav
