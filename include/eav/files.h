// Files and folders that appear when they are complete: until then they lie under a temporary name in the same folder.
#pragma once
#include <filesystem>
#include <span>
#include <string_view>

namespace [[gnu::visibility("default")]] eav {

// Where `out` leads: absolute, links followed, without a '/' at its end. What is renamed to it replaces the thing
// itself.
std::filesystem::path target_of(const std::filesystem::path& out);

// Throws eav::Error when `folder`, where `out` is to be written, is missing or takes no files. Leaves nothing behind.
void check_takes_files(const std::filesystem::path& folder, const std::filesystem::path& out);

// Unfinished work of a random name, created empty: nothing that was there is opened, no link is followed. At the end of
// the scope it is removed, unless it was finished. Throws eav::Error, which names `out`.
class Temporary {
 public:
  // A file beside `out`.
  static Temporary file(const std::filesystem::path& out);
  // A folder in `parent`.
  static Temporary folder(const std::filesystem::path& parent, const std::filesystem::path& out);
  ~Temporary();
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Renames it to `out`, in the place of a file that is there.
  void finish() const;

 private:
  using Create = bool (*)(const std::filesystem::path& path);  // false: see errno
  Temporary(const std::filesystem::path& parent, const std::filesystem::path& out, Create create);

  std::filesystem::path path_, out_;
};

// Writes a file: `parts` one behind the other, or `text`. Throws eav::Error, and then leaves what was there.
void write_file(const std::filesystem::path& out, std::span<const std::string_view> parts);
void write_file(const std::filesystem::path& out, std::string_view text);

}  // namespace eav
