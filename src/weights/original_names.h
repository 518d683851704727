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
  std::string_view original, ours;
  int64_t begin = 0, end = 0, at = 0;
};

// Keys that share a beginning: "" or, with the number of a block behind it, such as "blocks.".
struct KeyGroup {
  std::string_view original, ours;
  std::vector<KeyRename> keys;  // of the rest; the first that fits counts, and others with the same `original`
};

// What `key` is by a table; of several groups the first that has its beginning counts. `channels` are the model's.
std::vector<NamedRows> find_names(std::span<const KeyGroup> table, std::string_view key, int64_t channels);

// How files begin the keys of a transformer, and of a VAE.
inline constexpr std::array<std::string_view, 3> kTransformerPrefixes{"model.diffusion_model.", "diffusion_model.", ""};
inline constexpr std::array<std::string_view, 3> kVaePrefixes{"vae.", "first_stage_model.", ""};

// `text` with every occurrence of each first string replaced by the second, one pair after the other.
std::string replaced(std::string text, std::span<const std::pair<std::string_view, std::string_view>> renames);

// The number that `text` begins with, and what comes behind it; nothing where it begins with none.
std::optional<std::pair<int64_t, std::string_view>> leading_number(std::string_view text);

}  // namespace eav
