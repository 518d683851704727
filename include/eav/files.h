// Files and folders that appear when they are complete: until then they lie under a temporary name in the same folder.
#pragma once
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace [[gnu::visibility("default")]] eav {

// Where `out` leads: absolute, links followed, without a '/' at its end. What is renamed to it replaces the thing
// itself.
std::filesystem::path target_of(const std::filesystem::path& out);

// Throws eav::Error when `folder`, where `out` is to be written, is missing or takes no files. Leaves nothing behind.
void check_takes_files(const std::filesystem::path& folder, const std::filesystem::path& out);

// The folder of the user's cache that holds things of this kind, enhance-a-video/NAME in XDG_CACHE_HOME or ~/.cache;
// empty where neither is known. It need not exist.
std::filesystem::path user_cache_folder(const std::string& name);

// Whether what lies at a place gives way to what comes there.
enum class Existing { replace, refuse };

// Unfinished work of a random name, created empty: nothing that was there is opened, no link is followed. At the end of
// the scope it is removed, unless it was finished. Throws eav::Error, which names `out`.
class Temporary {
 public:
  // A file beside `out`.
  static Temporary file(const std::filesystem::path& out);
  // A folder in `parent`, whose files move into the folder `out` where there is one. Of what lies there, those whose
  // names `ours` says yes to are removed then.
  static Temporary folder(const std::filesystem::path& parent, const std::filesystem::path& out,
                          std::function<bool(const std::string& name)> ours = {});
  ~Temporary();
  Temporary(Temporary&& other) noexcept;
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  Temporary& operator=(Temporary&&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Renames it to `out`, and has the disk keep it. Once it returns, a power cut loses nothing.
  void finish(Existing existing = Existing::replace) const;

 private:
  using Create = bool (*)(const std::filesystem::path& path);  // false: see errno
  Temporary(const std::filesystem::path& parent, const std::filesystem::path& out, Create create);
  void move_files(const std::filesystem::path& folder, Existing existing) const;

  std::filesystem::path path_, out_;
  std::function<bool(const std::string&)> ours_;
  int lock_ = -1;  // held as long as somebody works at it
};

// Removes unfinished work in a folder whose process has ended before its time.
void remove_left_over(const std::filesystem::path& folder);

// A file, `parts` one behind the other, that appears when it is finished.
Temporary prepare_file(const std::filesystem::path& out, std::span<const std::string_view> parts);
Temporary prepare_file(const std::filesystem::path& out, std::string_view text);

// Writes a file: `parts` one behind the other, or `text`. Throws eav::Error, and then leaves what was there.
void write_file(const std::filesystem::path& out, std::span<const std::string_view> parts);
void write_file(const std::filesystem::path& out, std::string_view text);

}  // namespace eav
