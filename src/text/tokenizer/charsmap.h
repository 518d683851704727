// SentencePiece's table of character replacements ("precompiled_charsmap"), for example nmt_nfkc.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace eav::text {

// A normalizer. It reads the table as the `tokenizers` package does, which differs from SentencePiece itself where
// combining marks follow a character: ids must agree with that package.
class Charsmap {
 public:
  // `table`: the length of a trie in bytes (uint32), the trie (uint32 units, little endian), then replacements that end
  // with a zero byte. Throws eav::Error when it is malformed.
  explicit Charsmap(std::string_view table);

  std::string operator()(std::string_view text) const;

 private:
  // What the shortest prefix of `characters` that the table knows is replaced by.
  std::optional<std::string_view> replacement(std::string_view characters) const;

  std::vector<uint32_t> trie_;  // a double array, as the Darts library lays it out
  std::string replacements_;
};

}  // namespace eav::text
