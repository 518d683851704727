#include "text/tokenizer/charsmap.h"

#include <fmt/format.h>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

// The fields that a unit of the double array packs into 32 bits. One with a label is reached by that byte, and its
// offset tells where its children lie; one with the highest bit set holds a value.
bool holds_value(uint32_t unit) { return unit >> 31 == 1; }
bool has_value(uint32_t unit) { return (unit >> 8 & 1) == 1; }
uint32_t value(uint32_t unit) { return unit & 0x7FFFFFFFu; }
uint32_t label(uint32_t unit) { return unit & 0x800000FFu; }
uint32_t offset(uint32_t unit) { return unit >> 10 << ((unit & 1u << 9) >> 6); }

// Children lie at one place, from which the bytes that lead to them are counted: in a block of this many units.
constexpr size_t kBlock = 256;

// In bytes. The longest that Unicode asks for has 33; longer ones would let a short prompt fill the memory.
constexpr size_t kLongestReplacement = 256;

uint32_t little_endian(std::string_view bytes, size_t at) {
  uint32_t number = 0;
  for (size_t i = 4; i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[at + i]);
  return number;
}

}  // namespace

Charsmap::Charsmap(std::string_view table) {
  const auto fail = [](const char* what) {
    return Error(fmt::format("the tokenizer's precompiled_charsmap {}", what));
  };
  const size_t size = table.size() < 4 ? 0 : little_endian(table, 0);
  if (size == 0 || size > table.size() - 4) throw fail("is truncated");
  if (size % (4 * kBlock) != 0) throw fail("has a trie of an impossible size");
  trie_.reserve(size / 4);
  for (size_t at = 4; at < 4 + size; at += 4) trie_.push_back(little_endian(table, at));
  replacements_ = table.substr(4 + size);
  if (!is_utf8(replacements_)) throw fail("holds text that is not UTF-8");

  // Whatever a text leads to lies inside of the table: replacement() does not look again.
  if (offset(trie_[0]) >= trie_.size()) throw fail("points outside of itself");
  for (size_t i = 0; i < trie_.size(); ++i) {
    if (holds_value(trie_[i])) continue;
    const size_t children = i ^ offset(trie_[i]);
    if (children >= trie_.size()) throw fail("points outside of itself");
    if (!has_value(trie_[i])) continue;
    const auto begin = value(trie_[children]);
    if (begin >= replacements_.size()) throw fail("points outside of itself");
    if (continues_code_point(replacements_[begin])) throw fail("points into a character");
    const auto end = replacements_.find('\0', begin);
    if (end == std::string::npos) throw fail("holds a replacement that does not end");
    if (end - begin > kLongestReplacement) throw fail("holds a replacement that is too long");
  }
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
    if (c == 0 || label(trie_[node]) != c) return std::nullopt;
    const auto unit = trie_[node];
    node ^= offset(unit);
    if (has_value(unit)) return replacements_.c_str() + value(trie_[node]);
  }
  return std::nullopt;
}

}  // namespace eav::text
