#include "hub/remote.h"

#include <fmt/format.h>

#include <cstdio>
#include <map>
#include <optional>
#include <utility>

#include "eav/error.h"
#include "hub/patience.h"

namespace eav {
namespace {

constexpr size_t kLongestListing = 64 << 20;  // bytes of JSON
constexpr int64_t kProgress = 1 << 20;        // bytes after which a broken connection counts as the first one

std::string header(const std::map<std::string, std::string>& headers, const char* name) {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

// What a refusal means for a user.
Error refused(const Http& http, const Answer& answer, const std::string& repository, const std::string& revision) {
  const auto code = header(answer.hub, "x-error-code");
  const auto page = fmt::format("{}/{}", http.endpoint(), repository);
  if (answer.status == 404 && code == "RevisionNotFound")
    return Error(fmt::format("{} has no revision '{}': {}/commits/main lists them", repository, revision, page));
  if (answer.status == 404 && code == "EntryNotFound")
    return Error(fmt::format("{}: the hub lists a file that it does not have: try again later", repository));
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

  const bool goes_on = answer.status == 206;  // otherwise all of it comes, whatever was asked for
  if (goes_on) {
    const auto range = content_range(header(answer.headers, "content-range"));
    if (!range || range->first != part.size())
      throw Error(fmt::format("{}: the server sends another part of it than was asked for", file.path));
    if (range->second != file.size) throw differs("size", std::to_string(range->second), std::to_string(file.size));
  }
  const auto coming = file.size - (goes_on ? part.size() : 0);
  if (const auto said = header(answer.headers, "content-length"); !said.empty() && said != std::to_string(coming))
    throw differs(goes_on ? "rest" : "size", said, std::to_string(coming));
  if (!goes_on) part.restart();
}

}  // namespace

Listing RemoteRepository::list(const std::string& revision) {
  const auto path = fmt::format("/api/models/{}/revision/{}?blobs=true", repository_, url_encoded(revision, false));
  Patience patience(progress_);
  while (true) {
    std::string body;
    const auto answer = http_.get(path, 0,
                                  {.begin = [](const Answer&) {},
                                   .append =
                                       [&](std::string_view piece) {
                                         if (body.size() + piece.size() > kLongestListing)
                                           throw Error(fmt::format("{} lists files without end", http_.endpoint()));
                                         body += piece;
                                       }});
    if (answer.succeeded() && answer.broken.empty()) {
      auto listing = parse_listing(body, http_.endpoint());
      if (is_commit(revision) && listing.commit != revision)
        throw Error(fmt::format("{} lists the files of another commit, {}", http_.endpoint(), listing.commit));
      return listing;
    }
    if (!Patience::may_help(answer)) throw refused(http_, answer, repository_, revision);
    patience.wait(answer, http_.endpoint());
  }
}

void RemoteRepository::fill(PartFile& part, const ListedFile& file, const std::string& commit,
                            const std::function<void(int64_t)>& came) {
  const auto path = fmt::format("/{}/resolve/{}/{}", repository_, commit, url_encoded(file.path, true));
  const Sink sink{.begin = [&](const Answer& answer) { begin_part(part, answer, file, commit); },
                  .append =
                      [&](std::string_view piece) {
                        part.append(piece);
                        came(static_cast<int64_t>(piece.size()));
                      }};
  Patience patience(progress_);
  while (part.size() < file.size) {
    const auto before = part.size();
    auto answer = http_.get(path, before, sink);
    if (part.size() == file.size) return;
    if (answer.succeeded() && answer.broken.empty()) answer.broken = "the connection ended early";
    if (!Patience::may_help(answer)) throw refused(http_, answer, repository_, commit);
    if (answer.status == 416) part.restart();
    if (part.size() - before >= kProgress) patience.renew();
    patience.wait(answer, file.path);
  }
}

}  // namespace eav
