#include "text/tokenizer/charsmap.h"

#include <gtest/gtest.h>

#include <array>

#include "eav/error.h"

namespace eav::text {
namespace {

std::string bytes(uint32_t number) {
  std::string all;
  for (int shift = 0; shift < 32; shift += 8) all += static_cast<char>(number >> shift & 0xFF);
  return all;
}

// A table in which "A" is replaced by the text at `value` of "\xC3\xA9x\0", that is "éx".
std::array<uint32_t, 256> trie(uint32_t value) {
  std::array<uint32_t, 256> units{};
  units[0] = 1u << 10;                        // the root's children are at 1 ^ label
  units[1 ^ 'A'] = 3u << 10 | 1u << 8 | 'A';  // a leaf, whose value is at its own place ^ 3
  units[1 ^ 'A' ^ 3] = 1u << 31 | value;
  return units;
}
std::string table(const std::array<uint32_t, 256>& units,
                  const std::string& replacements = std::string("\xC3\xA9x\0", 4)) {
  std::string all = bytes(sizeof units);
  for (const auto unit : units) all += bytes(unit);
  return all + replacements;
}
std::string table(uint32_t value) { return table(trie(value)); }

std::string error(const std::string& table) {
  try {
    const Charsmap charsmap(table);
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(Charsmap, ReplacesWhatItsTableHolds) {
  const Charsmap charsmap(table(0));
  EXPECT_EQ(charsmap("aAb"), "aéxb");
  EXPECT_EQ(charsmap(""), "");
  EXPECT_EQ(Charsmap(table(3))("aAb"), "ab");  // by nothing
}

TEST(Charsmap, ShortClustersAreReplacedAsOne) {
  const Charsmap charsmap(table(0));
  EXPECT_EQ(charsmap("A\u0301"), "éx");                                // the mark goes with its letter
  EXPECT_EQ(charsmap("A\u0301\u0301\u0301"), "éx\u0301\u0301\u0301");  // a cluster of 7 bytes is not one
}

TEST(Charsmap, DamagedTablesAreErrors) {
  const std::string kPrefix = "the tokenizer's precompiled_charsmap ";
  for (const auto& cut : {std::string(), std::string("abc"), bytes(0), bytes(1000) + "abc", table(0).substr(0, 1000)})
    EXPECT_EQ(error(cut), kPrefix + "is truncated");
  EXPECT_EQ(error(bytes(4) + bytes(0xFFFFFFFF)), kPrefix + "has a trie of an impossible size");
  EXPECT_EQ(error(table(trie(0), std::string("\xff\0", 2))), kPrefix + "holds text that is not UTF-8");
  EXPECT_EQ(error(table(1)), kPrefix + "points into a character");
  EXPECT_EQ(error(table(4)), kPrefix + "points outside of itself");
  EXPECT_EQ(error(table(0x7FFFFFFF)), kPrefix + "points outside of itself");
  EXPECT_EQ(error(table(trie(0), "no zero")), kPrefix + "holds a replacement that does not end");
  std::string longest(256, 'x');
  longest.push_back('\0');
  EXPECT_EQ(error(table(trie(0), longest)), "no error");
  EXPECT_EQ(error(table(trie(0), "x" + longest)), kPrefix + "holds a replacement that is too long");
  for (const size_t unit : {size_t{0}, size_t{1 ^ 'A'}, size_t{200}}) {
    auto units = trie(0);
    units[unit] = 256u << 10;  // children behind the end
    EXPECT_EQ(error(table(units)), kPrefix + "points outside of itself");
    units[unit] = 1u << 30 | 1u << 9;  // by the larger of the two offsets that there are
    EXPECT_EQ(error(table(units)), kPrefix + "points outside of itself");
  }
}

}  // namespace
}  // namespace eav::text
