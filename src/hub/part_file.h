// A blob of the cache on its way: BLOB.incomplete, which a later pull goes on with.
#pragma once
#include <filesystem>
#include <optional>
#include <string_view>

#include "eav/progress.h"
#include "hub/digest.h"
#include "hub/listing.h"

namespace eav {

// Held by one pull at a time, as by Python's: the lock of a blob.
class BlobLock {
 public:
  // Waits for it. Throws eav::Error where the file cannot be made, and Cancelled.
  BlobLock(const std::filesystem::path& file, Progress& progress);
  ~BlobLock();
  BlobLock(const BlobLock&) = delete;
  BlobLock& operator=(const BlobLock&) = delete;

 private:
  int descriptor_ = -1;
};

class PartFile {
 public:
  // Opens what is there of it, or begins it. Throws eav::Error where it cannot be written, and Cancelled.
  PartFile(const std::filesystem::path& blob, const ListedFile& file, const Progress& progress);
  ~PartFile();
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  int64_t size() const { return size_; }
  void restart();                       // drops what is there
  void append(std::string_view bytes);  // throws eav::Error, and drops all, where that is more than the hub lists
  // Gives it its name, once its bytes are those that the hub lists; otherwise drops them and throws eav::Error.
  void finish();

 private:
  std::filesystem::path blob_, path_;
  ListedFile file_;
  int descriptor_ = -1;
  int64_t size_ = 0;
  std::optional<Digest> digest_;
};

}  // namespace eav
