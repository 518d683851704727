// A repository at the hub: what it lists, and the bytes of its files.
#pragma once
#include <functional>
#include <string>

#include "eav/progress.h"
#include "hub/http.h"
#include "hub/listing.h"
#include "hub/part_file.h"

namespace eav {

// What breaks on the way is asked for again, see Patience. Throws eav::Error, which says what a refusal means and what
// to do (a name that is wrong, terms to accept, a token to set), and Cancelled.
class RemoteRepository {
 public:
  // Both must outlive it.
  RemoteRepository(Http& http, std::string repository, Progress& progress)
      : http_(http), repository_(std::move(repository)), progress_(progress) {}

  Listing list(const std::string& revision);
  // Fetches what a part lacks of a file; tells of every piece that came, by its bytes.
  void fill(PartFile& part, const ListedFile& file, const std::string& commit,
            const std::function<void(int64_t)>& came);

 private:
  Http& http_;
  std::string repository_;
  Progress& progress_;
};

}  // namespace eav
