// The checksums that the hub names files by.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace eav {

// Of a file's bytes, fed in their order: SHA-256 for an etag of 64 digits, for others the SHA-1 that git has of a file.
class Digest {
 public:
  Digest(const std::string& etag, int64_t size);  // `size` of the whole file, which git's begins with
  void add(std::string_view bytes);
  std::string hex();  // once, at the end

 private:
  std::unique_ptr<void, void (*)(void*)> context_;
};

}  // namespace eav
