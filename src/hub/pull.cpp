#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <fstream>
#include <map>
#include <optional>
#include <system_error>
#include <vector>

#include "eav/error.h"
#include "eav/files.h"
#include "eav/hub.h"
#include "eav/human.h"
#include "hub/cache.h"
#include "hub/choice.h"
#include "hub/http.h"
#include "hub/listing.h"
#include "hub/part_file.h"
#include "hub/patience.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLongestListing = 64 << 20;  // bytes of JSON
constexpr int64_t kProgress = 1 << 20;        // bytes after which a broken connection counts as the first one

// ---- the environment ------------------------------------------------------------------------------------------------

bool is_on(const char* variable) {
  auto value = from_environment(variable).value_or("");
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  static constexpr std::array kOn{"1", "ON", "TRUE", "YES"};
  return std::ranges::find(kOn, value) != kOn.end();
}

std::string endpoint() {
  auto url = from_environment("HF_ENDPOINT").value_or("https://huggingface.co");
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("https://") && !url.starts_with("http://"))
    throw Error(fmt::format("HF_ENDPOINT is '{}', expected a URL that begins with https://", url));
  return url;
}

// HF_TOKEN, else what `huggingface-cli login` keeps in a file; empty where there is none.
std::string token() {
  auto token = from_environment("HF_TOKEN").value_or("");
  if (token.empty()) std::ifstream(from_environment("HF_TOKEN_PATH").value_or(hub_home() / "token")) >> token;
  const auto space = " \t\r\n";
  token.erase(0, std::min(token.find_first_not_of(space), token.size()));
  token.erase(token.find_last_not_of(space) + 1);
  if (!std::ranges::all_of(token, [](char c) { return c > ' ' && c <= '~'; }))
    throw Error("HF_TOKEN holds characters that no token has");
  return token;
}

// ---- what the hub says ----------------------------------------------------------------------------------------------

std::string header(const std::map<std::string, std::string>& headers, const char* name) {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

// What a refusal means for a user.
Error refused(const Http& http, const Answer& answer, const Pull& wanted, const std::string& repository) {
  const auto code = header(answer.hub, "x-error-code");
  const auto page = fmt::format("{}/{}", http.endpoint(), repository);
  if (answer.status == 404 && code == "RevisionNotFound")
    return Error(fmt::format("{} has no revision '{}': {}/commits/main lists them", repository, wanted.revision, page));
  if (answer.status == 404 && code == "EntryNotFound")
    return Error(fmt::format("{}: the hub lists a file that it does not have: try again later", wanted.name));
  if (code == "GatedRepo" || (answer.status == 403 && http.has_token()))
    return Error(
        fmt::format("{0} is gated: accept its terms at {1} and set HF_TOKEN to a token of your account that may "
                    "read it ({2}/settings/tokens)",
                    repository, page, http.endpoint()));
  if (answer.status == 401 && http.has_token() && code.empty())
    return Error(fmt::format(
        "the hub does not know the token of HF_TOKEN: {}/settings/tokens has those of your account", http.endpoint()));
  if (answer.status == 401 || answer.status == 403 || answer.status == 404)
    return Error(fmt::format("the hub has no repository {}, or not for everybody: look at {}{}", repository, page,
                             http.has_token() ? "" : ", and set HF_TOKEN where it is private"));
  return Error(fmt::format("{}: the server answers {}", page, answer.status));
}

Listing fetch_listing(Http& http, const Pull& wanted, const std::string& repository, Progress& progress) {
  const auto path =
      fmt::format("/api/models/{}/revision/{}?blobs=true", repository, url_encoded(wanted.revision, false));
  Patience patience(progress);
  while (true) {
    std::string body;
    const auto answer = http.get(path, 0,
                                 {.begin = [](const Answer&) {},
                                  .append =
                                      [&](std::string_view piece) {
                                        if (body.size() + piece.size() > kLongestListing)
                                          throw Error(fmt::format("{} lists files without end", http.endpoint()));
                                        body += piece;
                                      }});
    if (answer.succeeded() && answer.broken.empty()) {
      auto listing = parse_listing(body, http.endpoint());
      if (is_commit(wanted.revision) && listing.commit != wanted.revision)
        throw Error(fmt::format("{} lists the files of another commit, {}", http.endpoint(), listing.commit));
      return listing;
    }
    if (!Patience::may_help(answer)) throw refused(http, answer, wanted, repository);
    patience.wait(answer, http.endpoint());
  }
}

// ---- one file -------------------------------------------------------------------------------------------------------

// "bytes 100-199/200": where the bytes of an answer begin, and of how many; nothing where it does not say so.
std::optional<std::pair<int64_t, int64_t>> content_range(const std::string& text) {
  int64_t begin = 0, end = 0, total = 0;
  if (std::sscanf(text.c_str(), "bytes %ld-%ld/%ld", &begin, &end, &total) != 3) return std::nullopt;
  return std::pair(begin, total);
}

// Looks whether what a server says of a file, before its bytes, is what the hub lists; makes the part ready for it.
void begin_part(PartFile& part, const Answer& answer, const ListedFile& file, const std::string& commit) {
  const auto differs = [&](const std::string& what, const std::string& said, const std::string& listed) {
    return Error(fmt::format("{}: the server gives its {} as {}, and the hub lists {}", file.path, what, said, listed));
  };
  if (const auto said = header(answer.hub, "x-repo-commit"); !said.empty() && said != commit)
    throw differs("commit", said, commit);
  if (const auto said = header(answer.hub, "x-linked-size"); !said.empty() && said != std::to_string(file.size))
    throw differs("size", said, std::to_string(file.size));
  if (const auto said = header(answer.hub, "x-linked-etag"); !said.empty() && said.find(file.etag) == std::string::npos)
    throw differs("checksum", said, file.etag);

  if (answer.status != 206) part.restart();  // all of it comes, whatever was asked for
  if (answer.status == 206) {
    const auto range = content_range(header(answer.headers, "content-range"));
    if (!range || range->first != part.size())
      throw Error(fmt::format("{}: the server sends another part of it than was asked for", file.path));
    if (range->second != file.size) throw differs("size", std::to_string(range->second), std::to_string(file.size));
  }
  const auto left = file.size - part.size();
  if (const auto said = header(answer.headers, "content-length"); !said.empty() && said != std::to_string(left))
    throw differs(part.size() > 0 ? "rest" : "size", said, std::to_string(left));
}

class Fetcher {
 public:
  Fetcher(Http& http, std::string repository, std::string commit, int64_t total, Progress& progress)
      : http_(http),
        repository_(std::move(repository)),
        commit_(std::move(commit)),
        total_(total),
        progress_(progress) {}

  int64_t fetched() const { return fetched_; }

  // Has the blob of a file in the cache.
  void fetch(const ListedFile& file, const CachedRepository& cached) {
    const auto blob = cached.blob(file.etag);
    if (!is_whole(blob, file)) {
      progress_.phase(fmt::format("{} ({})", file.path, human_size(file.size)));
      const BlobLock lock(cached.lock(file.etag), progress_);
      if (!is_whole(blob, file)) fetch_locked(file, blob);
    }
    done_ += file.size;
  }

  static bool is_whole(const fs::path& blob, const ListedFile& file) {
    std::error_code error;
    return fs::is_regular_file(blob, error) && fs::file_size(blob, error) == static_cast<uintmax_t>(file.size);
  }

 private:
  void fetch_locked(const ListedFile& file, const fs::path& blob) {
    const auto path = fmt::format("/{}/resolve/{}/{}", repository_, commit_, url_encoded(file.path, true));
    PartFile part(blob, file, progress_);
    Patience patience(progress_);
    tell(part.size());
    for (auto before = part.size(); part.size() < file.size; before = part.size()) {
      auto answer = http_.get(path, before,
                              {.begin = [&](const Answer& a) { begin_part(part, a, file, commit_); },
                               .append =
                                   [&](std::string_view piece) {
                                     part.append(piece);
                                     fetched_ += static_cast<int64_t>(piece.size());
                                     tell(part.size());
                                   }});
      if (part.size() == file.size) break;
      if (answer.succeeded() && answer.broken.empty()) answer.broken = "the connection ended early";
      if (!Patience::may_help(answer))
        throw refused(http_, answer, {.name = repository_, .revision = commit_}, repository_);
      if (answer.status == 416) part.restart();
      if (part.size() - before >= kProgress) patience.renew();
      patience.wait(answer, file.path);
    }
    part.finish();
  }

  void tell(int64_t of_file) { progress_.step(done_ + of_file, total_); }

  Http& http_;
  std::string repository_, commit_;
  int64_t total_, done_ = 0, fetched_ = 0;  // bytes of all files
  Progress& progress_;
};

// ---- the cache ------------------------------------------------------------------------------------------------------

// Throws where the disk has less room than what is still to come.
void check_room(const std::vector<ListedFile>& files, const CachedRepository& cached) {
  int64_t needed = 0;
  for (const auto& file : files) {
    if (Fetcher::is_whole(cached.blob(file.etag), file)) continue;
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
  if (is_on("HF_HUB_OFFLINE"))
    throw Error(fmt::format("{}: nothing is fetched, as HF_HUB_OFFLINE is set", wanted.name));

  Http http(endpoint(), token(), progress);
  const auto listing = fetch_listing(http, wanted, name->repository, progress);
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

  Fetcher fetcher(http, name->repository, listing.commit, pulled.bytes, progress);
  for (const auto& file : choice.files) {
    fetcher.fetch(file, cached);
    link(file, listing.commit, cached);
  }
  write_ref(wanted.revision, listing.commit, cached);
  pulled.fetched = fetcher.fetched();
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
