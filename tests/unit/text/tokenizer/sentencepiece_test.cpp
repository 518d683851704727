#include "text/tokenizer/sentencepiece.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <limits>

#include "eav/error.h"

namespace eav::text {
namespace {

std::string varint(uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>(number | 0x80);
  return bytes + static_cast<char>(number);
}
std::string whole(uint64_t field, uint64_t value) { return varint(field << 3) + varint(value); }
std::string bytes(uint64_t field, const std::string& value) {
  return varint(field << 3 | 2) + varint(value.size()) + value;
}
std::string real(uint64_t field, float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  auto all = varint(field << 3 | 5);
  for (int shift = 0; shift < 32; shift += 8) all += static_cast<char>(bits >> shift & 0xFF);
  return all;
}

// Kinds of pieces, as sentencepiece_model.proto numbers them.
constexpr uint64_t kNormalPiece = 1, kUnknownPiece = 2, kControlPiece = 3, kUserPiece = 4, kBytePiece = 6;

std::string piece(const std::string& text, float score = -1, uint64_t kind = kNormalPiece) {
  return bytes(1, bytes(1, text) + real(2, score) + whole(3, kind));
}
const std::string kUnknownAlone = piece("<unk>", 0, kUnknownPiece);

std::string error(const std::string& model) {
  try {
    read_sentencepiece(model, "the/spiece.model");
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

TEST(SentencePiece, ReadsPiecesInTheirOrder) {
  const auto parts = read_sentencepiece(piece("<pad>", 0, kControlPiece) + kUnknownAlone + piece("▁a", -2.5f) +
                                            piece("<one>", 0, kUserPiece) + bytes(2, whole(3, 1) + whole(99, 7)) +
                                            bytes(200, "an extension"),
                                        "");
  EXPECT_EQ(parts.vocabulary, (Unigram::Vocabulary{{"<pad>", 0}, {"<unk>", 0}, {"▁a", -2.5}, {"<one>", 0}}));
  EXPECT_EQ(parts.symbols, (std::vector<std::string>{"<pad>", "<one>"}));
  EXPECT_EQ(parts.normalizer("ﬁ"), "ﬁ");
}

TEST(SentencePiece, FieldsThatAreLeftOutHaveTheFormatsDefaults) {
  const auto parts = read_sentencepiece(kUnknownAlone + bytes(1, bytes(1, "a")), "");
  EXPECT_EQ(parts.vocabulary.at(1), (std::pair<std::string, double>{"a", 0}));
  EXPECT_TRUE(parts.symbols.empty());
}

TEST(SentencePiece, BytesHaveAllTheirPiecesOrNone) {
  auto model = kUnknownAlone + bytes(2, whole(35, 1));
  for (int byte = 0; byte < 255; ++byte) model += piece(fmt::format("<0x{:02X}>", byte), -1, kBytePiece);
  EXPECT_EQ(error(model),
            "the/spiece.model: is no valid SentencePiece model: 255 pieces stand for bytes, expected 256");
  EXPECT_EQ(read_sentencepiece(model + piece("<0xFF>", -1, kBytePiece), "").vocabulary.size(), 257u);
  EXPECT_NE(error(model + piece("<0xfF>", -1, kBytePiece)).find("piece 256 is to stand for a byte"), std::string::npos);
  EXPECT_NE(error(kUnknownAlone + piece("<0x00>", -1, kBytePiece)).find("piece 1 stands for a byte"),
            std::string::npos);
}

TEST(SentencePiece, CutAnywhereItIsAnErrorThatNamesTheFile) {
  const auto model = kUnknownAlone + piece("▁a") + bytes(2, whole(3, 1) + whole(35, 0)) + bytes(3, bytes(1, "nfkc"));
  ASSERT_EQ(error(model), "no error");
  const std::vector<size_t> whole_fields{kUnknownAlone.size(), kUnknownAlone.size() + piece("▁a").size(),
                                         model.size() - bytes(3, bytes(1, "nfkc")).size()};
  for (size_t size = 0; size < model.size(); ++size)
    if (std::ranges::find(whole_fields, size) == whole_fields.end()) {
      EXPECT_TRUE(error(model.substr(0, size)).starts_with("the/spiece.model: is no valid")) << size;
    }
}

TEST(SentencePiece, RefusesWhatIsNoModel) {
  const std::pair<std::string, std::string> cases[]{
      {"", "it has no pieces"},
      {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "truncated: 9223372036854775807 bytes are to follow"},
      {std::string(12, '\xff'), "a number does not end"},
      {std::string("\x00\x00", 2), "a field has no number"},
      {"\x0b", "field 1 is stored as an unknown kind"},
      {whole(1, 3), "field 1 is stored as another kind"},
      {kUnknownAlone + bytes(1, whole(2, 0)), "field 2 is stored as another kind"},
      {piece("a"), "0 pieces stand for unknown characters"},
      {kUnknownAlone + piece("<other>", 0, kUnknownPiece), "2 pieces stand for unknown characters"},
      {kUnknownAlone + piece(""), "piece 1 has no text"},
      {kUnknownAlone + piece("\xC3"), "piece 1 is not UTF-8"},
      {kUnknownAlone + piece("a") + piece("a"), "piece 2 is there twice"},
      {kUnknownAlone + piece("a", std::numeric_limits<float>::quiet_NaN()), "piece 1 has a score that is no number"},
      {kUnknownAlone + piece("a", -std::numeric_limits<float>::infinity()), "piece 1 has a score that is no number"},
      {kUnknownAlone + piece("a", 0, 7), "piece 1 is of the unknown kind 7"},
      {kUnknownAlone + piece("a", 0, 0), "piece 1 is of the unknown kind 0"},
      {kUnknownAlone + bytes(2, whole(3, 2)), "of the kind BPE, which is not supported; expected Unigram"},
      {kUnknownAlone + bytes(2, whole(3, 9)), "of the kind 9, which is not supported"},
      {kUnknownAlone + bytes(3, bytes(2, "abc")), "precompiled_charsmap is truncated"},
  };
  for (const auto& [model, expected] : cases) {
    EXPECT_NE(error(model).find(expected), std::string::npos) << expected << " -> " << error(model);
    EXPECT_TRUE(error(model).starts_with("the/spiece.model: "));
  }
}

}  // namespace
}  // namespace eav::text
