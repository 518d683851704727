#include "text/tokenizer/charsmap.h"

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

// The fields that a unit of the double array packs into 32 bits.
bool has_value(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 4; i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  return number;
}

}  // namespace

Charsmap::Charsmap(std::string_view table) {
  const size_t size = table.size() < 4 ? 0 : little_endian(table, 0);
  if (size < 4 || size > table.size() - 4) throw Error("the tokenizer's precompiled_charsmap is truncated");
  for (size_t at = 4; at + 4 <= 4 + size; at += 4) trie_.push_back(little_endian(table, at));
  replacements_ = table.substr(4 + size);
  if (!is_utf8(replacements_)) throw Error("the tokenizer's precompiled_charsmap holds text that is not UTF-8");
}

std::string Charsmap::operator()(std::string_view text) const {
  // Clusters of fewer bytes are looked up whole; in longer ones every code point is looked up by itself.
  constexpr size_t kLongCluster = 6;
  std::string result;
  size_t begin = 0;
  for (const auto end : grapheme_ends(text)) {
    const auto cluster = text.substr(begin, end - begin);
    begin = end;
    const auto whole = cluster.size() < kLongCluster ? replacement(cluster) : std::nullopt;
    if (whole) {
      result += *whole;
      continue;
    }
    for (size_t i = 0, length; i < cluster.size(); i += length) {
      length = code_point_length(cluster, i);
      const auto character = cluster.substr(i, length);
      result += replacement(character).value_or(character);
    }
  }
  return result;
}

std::optional<std::string_view> Charsmap::replacement(std::string_view characters) const {
  size_t node = offset(trie_[0]);
  for (const unsigned char c : characters) {
    node ^= c;
    if (c == 0 || node >= trie_.size() || label(trie_[node]) != c) return std::nullopt;
    const auto unit = trie_[node];
    node ^= offset(unit);
    if (!has_value(unit)) continue;
    if (node >= trie_.size() || value(trie_[node]) > replacements_.size()) return std::nullopt;
    const auto found = std::string_view(replacements_).substr(value(trie_[node]));
    if (!found.empty() && continues_code_point(found[0])) return std::nullopt;  // only a damaged table points there
    return found.substr(0, found.find('\0'));
  }
  return std::nullopt;
}

}  // namespace eav::text
