#include "eav/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <string_view>
#include <vector>

namespace eav {
namespace {

constexpr uintmax_t kWhole = 1 << 20;    // files up to this size are hashed whole
constexpr uintmax_t kSample = 64 << 10;  // of larger ones, three samples

// FNV-1a, 64 bits.
class Hash {
 public:
  void add(std::string_view bytes) {
    for (const unsigned char byte : bytes) value_ = (value_ ^ byte) * 0x100000001b3ULL;
  }
  void add_file(const std::filesystem::path& file) {
    const auto size = std::filesystem::file_size(file);
    std::ifstream in(file, std::ios::binary);
    std::string bytes;
    const auto add_part = [&](uintmax_t begin, uintmax_t length) {
      bytes.resize(length);
      in.seekg(static_cast<std::streamoff>(begin)).read(bytes.data(), static_cast<std::streamsize>(length));
      add(bytes);
    };
    if (size <= kWhole) return add_part(0, size);
    for (const auto begin : {uintmax_t{0}, size / 2, size - kSample}) add_part(begin, kSample);
  }
  std::string text() const { return fmt::format("{:016x}", value_); }

 private:
  uint64_t value_ = 0xcbf29ce484222325ULL;
};

void add_folder(Hash& hash, const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const auto suffix = entry.path().extension();
    if (entry.is_regular_file() &&
        (suffix == ".json" || suffix == ".safetensors" || suffix == ".model" || suffix == ".txt"))
      files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    hash.add(fmt::format("{}:{};", std::filesystem::relative(file, folder).generic_string(),
                         std::filesystem::file_size(file)));
    hash.add_file(file);
  }
}

}  // namespace

std::string fingerprint(const ModelPaths& paths) {
  Hash hash;
  for (const auto& path : {paths.model, paths.vae, paths.text_encoder}) {
    if (path.empty()) continue;
    if (std::filesystem::is_directory(path)) {
      add_folder(hash, path);
    } else {
      hash.add(fmt::format("{};", std::filesystem::file_size(path)));  // a file may be renamed
      hash.add_file(path);
    }
  }
  return hash.text();
}

std::string file_fingerprint(const std::filesystem::path& file) {
  Hash hash;
  hash.add_file(file);
  return hash.text();
}

}  // namespace eav
