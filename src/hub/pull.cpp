#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <system_error>
#include <vector>

#include "eav/error.h"
#include "eav/files.h"
#include "eav/hub.h"
#include "eav/human.h"
#include "hub/cache.h"
#include "hub/choice.h"
#include "hub/environment.h"
#include "hub/http.h"
#include "hub/part_file.h"
#include "hub/remote.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

bool is_whole(const fs::path& blob, const ListedFile& file) {
  std::error_code error;
  return fs::is_regular_file(blob, error) && fs::file_size(blob, error) == static_cast<uintmax_t>(file.size);
}

// Throws where the disk has less room than what is still to come.
void check_room(const std::vector<ListedFile>& files, const CachedRepository& cached) {
  int64_t needed = 0;
  for (const auto& file : files) {
    if (is_whole(cached.blob(file.etag), file)) continue;
    std::error_code error;
    const auto there = fs::file_size(cached.blob(file.etag).string() + ".incomplete", error);
    needed += file.size - (error ? 0 : std::min(static_cast<int64_t>(there), file.size));
  }
  const auto room = static_cast<int64_t>(fs::space(hub_cache()).available);
  if (needed > room)
    throw Error(
        fmt::format("{} are needed, and the disk of {} has room for {}: make room, or set HF_HUB_CACHE to a folder "
                    "of another disk",
                    human_size(needed), hub_cache().string(), human_size(room)));
}

// A file of the cache, under a name of this process, becomes `to`.
void move_to(const fs::path& from, const fs::path& to) {
  fs::create_directories(to.parent_path());
  fs::rename(from, to);
}

// snapshots/COMMIT/PATH leads to the blob.
void link(const ListedFile& file, const std::string& commit, const CachedRepository& cached) {
  const auto place = cached.snapshot(commit) / file.path;
  const auto target = cached.blob(file.etag).lexically_relative(place.parent_path());
  std::error_code none;
  if (fs::read_symlink(place, none) == target) return;
  const auto made = cached.own() / fmt::format("link-{}", ::getpid());
  fs::remove(made);
  fs::create_symlink(target, made);
  move_to(made, place);
}

void write_ref(const std::string& revision, const std::string& commit, const CachedRepository& cached) {
  std::string before;
  std::ifstream(cached.ref(revision)) >> before;
  if (is_commit(revision) || before == commit) return;
  const auto made = cached.own() / fmt::format("ref-{}", ::getpid());
  write_file(made, commit);
  move_to(made, cached.ref(revision));
}

Pulled pull_into_cache(const Pull& wanted, Progress& progress) {
  const auto name = parse_hub_name(wanted.name);
  if (!name)
    throw Error(fmt::format("'{}' is no name of a repository: expected ORG/NAME, or ORG/NAME:FILE for a file in it",
                            wanted.name));
  if (!stays_inside(wanted.revision))
    throw Error(fmt::format("'{}' is no revision: expected a branch, a tag or a commit", wanted.revision));
  if (hub_is_offline()) throw Error(fmt::format("{}: nothing is fetched, as HF_HUB_OFFLINE is set", wanted.name));

  Http http(hub_endpoint(), hub_token(), progress);
  RemoteRepository remote(http, name->repository, progress);
  const auto listing = remote.list(wanted.revision);
  const auto choice = choose_files(listing, *name);
  if (!choice.pickled.empty())
    progress.warning(fmt::format("left out, as they hold pickled objects, which are never read: {}",
                                 fmt::join(choice.pickled, ", ")));

  const auto cached = CachedRepository::of(name->repository);
  fs::create_directories(hub_cache());
  check_room(choice.files, cached);
  fs::create_directories(cached.own());
  Pulled pulled{.path = cached.snapshot(listing.commit), .commit = listing.commit};
  std::vector<std::string> paths;
  for (const auto& file : choice.files) {
    paths.push_back(file.path);
    pulled.bytes += file.size;
  }
  pulled.files = std::ssize(paths);
  if (name->path.empty()) cached.keep_wanted(listing.commit, paths);

  int64_t done = 0;  // bytes of files before this one
  for (const auto& file : choice.files) {
    if (const auto blob = cached.blob(file.etag); !is_whole(blob, file)) {
      progress.phase(fmt::format("{} ({})", file.path, human_size(file.size)));
      const BlobLock lock(cached.lock(file.etag), progress);
      if (!is_whole(blob, file)) {  // nobody else has fetched it meanwhile
        PartFile part(blob, file, progress);
        const auto tell = [&] { progress.step(done + part.size(), pulled.bytes); };
        tell();
        remote.fill(part, file, listing.commit, [&](int64_t came) {
          pulled.fetched += came;
          tell();
        });
        part.finish();
      }
    }
    done += file.size;
    link(file, listing.commit, cached);
  }
  write_ref(wanted.revision, listing.commit, cached);
  if (!choice.path.empty()) pulled.path /= choice.path;
  return pulled;
}

}  // namespace

Pulled pull(const Pull& wanted, Progress& progress) try {
  return pull_into_cache(wanted, progress);
} catch (const fs::filesystem_error& error) {
  throw Error(fmt::format("cannot write '{}': {}",
                          error.path2().empty() ? error.path1().string() : error.path2().string(),
                          error.code().message()));
}

}  // namespace eav
