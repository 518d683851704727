#include "eav/fingerprint.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

#include "base/regular_file.h"

namespace eav {
namespace {

constexpr int64_t kWhole = 1 << 20;    // files up to this size are hashed whole
constexpr int64_t kSample = 64 << 10;  // of larger ones, three samples

// FNV-1a, 64 bits.
class Hash {
 public:
  void add(std::string_view bytes) {
    for (const unsigned char byte : bytes) value_ = (value_ ^ byte) * 0x100000001b3ULL;
  }
  void add_file(const std::filesystem::path& file) {
    const RegularFile read(file);
    const auto size = read.size();
    std::string bytes;
    const auto add_part = [&](int64_t begin, int64_t length) {
      bytes.assign(static_cast<size_t>(length), '\0');
      read.read(begin, bytes.data(), bytes.size());
      add(bytes);
    };
    if (size <= kWhole) return add_part(0, size);
    for (const auto begin : {int64_t{0}, size / 2, size - kSample}) add_part(begin, kSample);
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
  for (const auto& [option, member] : ModelPaths::members()) {
    const auto& path = paths.*member;
    if (path.empty() || member == &ModelPaths::comfyui) continue;  // that is where others were found
    if (std::filesystem::is_directory(path)) {
      add_folder(hash, path);
    } else {
      hash.add(fmt::format("{};", std::filesystem::file_size(path)));  // a file may be renamed
      hash.add_file(path);
    }
  }
  for (const auto& lora : paths.loras) {
    hash.add(fmt::format("lora {} {};", lora.strength.value_or(1), to_string(lora.expert)));
    hash.add_file(lora.file);
  }
  return hash.text();
}

std::string file_fingerprint(const std::filesystem::path& file) {
  Hash hash;
  hash.add_file(file);
  return hash.text();
}

}  // namespace eav
