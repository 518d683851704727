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
std::string table(uint32_t value) {
  std::array<uint32_t, 256> trie{};
  trie[0] = 1u << 10;                        // the root's children are at 1 ^ label
  trie[1 ^ 'A'] = 3u << 10 | 1u << 8 | 'A';  // a leaf, whose value is at its own place ^ 3
  trie[1 ^ 'A' ^ 3] = 1u << 31 | value;
  std::string all = bytes(sizeof trie);
  for (const auto unit : trie) all += bytes(unit);
  return all + std::string("\xC3\xA9x\0", 4);
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

TEST(Charsmap, DamagedTablesDoNoHarm) {
  EXPECT_THROW(Charsmap(""), Error);
  EXPECT_THROW(Charsmap("abc"), Error);
  EXPECT_THROW(Charsmap(bytes(1000) + "abc"), Error);
  EXPECT_THROW(Charsmap(bytes(4) + bytes(0) + "\xff"), Error);
  EXPECT_EQ(Charsmap(table(1))("A"), "A");    // a value inside a character
  EXPECT_EQ(Charsmap(table(999))("A"), "A");  // behind the end
  EXPECT_EQ(Charsmap(bytes(4) + bytes(0xFFFFFFFF))("A"), "A");
}

}  // namespace
}  // namespace eav::text
