#include "hub/listing.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "eav/error.h"
#include "hub/name.h"

namespace eav {
namespace {

using Json = nlohmann::json;

constexpr int64_t kLargest = int64_t{1} << 50;  // bytes of a file

bool is_hex(std::string_view text, size_t digits) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  return text.size() == digits && std::ranges::all_of(text, is_digit);
}

std::string text_in(const Json& object, const char* field) {
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

int64_t size_in(const Json& object) {
  const auto found = object.find("size");
  if (found == object.end() || !found->is_number_unsigned()) return -1;
  const auto size = found->get<uint64_t>();
  return size <= static_cast<uint64_t>(kLargest) ? static_cast<int64_t>(size) : -1;
}

}  // namespace

bool is_commit(std::string_view text) { return is_hex(text, 40); }

Listing parse_listing(std::string_view bytes, const std::string& from) {
  const auto fail = [&](const std::string& what) { return Error(fmt::format("{} {}", from, what)); };
  const auto json = parse_json(bytes);
  if (!json.is_object() || !json.contains("siblings") || !json["siblings"].is_array())
    throw fail("answered with something else than a list of files: is HF_ENDPOINT a hub?");
  Listing listing{.commit = text_in(json, "sha"), .files = {}};
  if (!is_commit(listing.commit)) throw fail("names no commit");

  std::set<std::string> names;
  for (const auto& sibling : json["siblings"]) {
    if (!sibling.is_object()) throw fail("lists something that is no file");
    ListedFile file{
        .path = text_in(sibling, "rfilename"), .size = size_in(sibling), .etag = text_in(sibling, "blobId")};
    if (!stays_inside(file.path))
      throw fail(fmt::format("lists a file by the name \"{}\", which is refused", file.path));
    if (!names.insert(file.path).second) throw fail(fmt::format("lists '{}' twice", file.path));
    const auto lfs = sibling.find("lfs");
    const bool is_large = lfs != sibling.end() && lfs->is_object();
    if (is_large) file.size = size_in(*lfs), file.etag = text_in(*lfs, "sha256");
    if (file.size < 0 || !is_hex(file.etag, is_large ? 64 : 40))
      throw fail(fmt::format("lists '{}' without a size and a checksum", file.path));
    listing.files.push_back(std::move(file));
  }
  std::ranges::sort(listing.files, {}, &ListedFile::path);
  return listing;
}

}  // namespace eav
