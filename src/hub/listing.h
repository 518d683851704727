// What the hub's API says of a repository: its commit and its files.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace eav {

struct ListedFile {
  std::string path;  // which stays_inside()
  int64_t size;      // bytes
  // Its name among the cache's blobs, and its checksum: SHA-256 of what git-lfs keeps (64 hexadecimal digits), git's
  // own SHA-1 of other files (40).
  std::string etag;
};

struct Listing {
  std::string commit;  // 40 hexadecimal digits
  std::vector<ListedFile> files;
};

bool is_commit(std::string_view text);

// Reads the answer to /api/models/ORG/NAME/revision/R?blobs=true. Throws eav::Error, which begins with `from`, for
// anything else, and for names of files that no honest server has.
Listing parse_listing(std::string_view json, const std::string& from);

}  // namespace eav
