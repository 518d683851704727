// Keys of tensors as other writers spell them, in this project's names, which are diffusers' and transformers'.
#pragma once
#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace eav {

// Where rows of another writer's tensor, along its first axis, stand in one of this project's.
struct NamedRows {
  std::string key;               // this project's
  int64_t begin = 0;             // of the other's rows
  std::optional<int64_t> end{};  // unset: behind the last
  int64_t at = 0;                // this project's row that they begin at
  int64_t heads = 0;             // of which each has the two halves of its rows in pairs: llama.cpp's order
  bool matrix = false;  // written as a convolution of one position: lengths of 1 behind the second are left out

  bool is_whole() const { return begin == 0 && !end && at == 0; }
  bool operator==(const NamedRows&) const = default;
};

// What a tensor holds; nothing where its key is no other writer's.
using OriginalNames = std::function<std::vector<NamedRows>(const std::string& key)>;

// A line of a table: a key that begins with `original` begins with `ours` instead. Of a tensor that holds several, the
// rows from `begin` to `end` (0: the last) go to row `at`, counted in the model's channels.
struct KeyRename {
  std::string original, ours;
  int64_t begin = 0, end = 0, at = 0;
  bool matrix = false;  // see NamedRows
};

// Keys that share a beginning: "" or, with the number of a block behind it, such as "blocks.".
struct KeyGroup {
  std::string original, ours;
  std::vector<KeyRename> keys;  // of the rest; the first that fits counts, and others with the same `original`
};
using KeyTable = std::vector<KeyGroup>;

// What `key` is by a table; of several groups the first that has its beginning counts. `channels` are the model's.
std::vector<NamedRows> find_names(const KeyTable& table, std::string_view key, int64_t channels);

// The other way: what the other writer calls this project's `key`, by the last line of the longest that name it, and
// which of the other's rows are which of ours: several pieces where they change places; nothing where no line does.
std::vector<NamedRows> find_original(const KeyTable& table, std::string_view key, int64_t channels);

// Of a key with a group's `beginning`, and the number of a block behind it where that is not empty: that beginning in
// the other names, `other`, and the rest of the key; nothing where it begins otherwise.
std::optional<std::pair<std::string, std::string_view>> split_beginning(std::string_view beginning,
                                                                        std::string_view other, std::string_view key);

// How files begin the keys of a transformer, and of a VAE.
inline constexpr std::array<std::string_view, 3> kTransformerPrefixes{"model.diffusion_model.", "diffusion_model.", ""};
inline constexpr std::array<std::string_view, 3> kVaePrefixes{"vae.", "first_stage_model.", ""};

// The number that `text` begins with, and what comes behind it; nothing where it begins with none.
std::optional<std::pair<int64_t, std::string_view>> leading_number(std::string_view text);

}  // namespace eav
