#include "text/tokenizer/sentencepiece.h"

#include <fmt/format.h>
#include <sentencepiece_processor.h>

#include <bit>
#include <string_view>
#include <utility>

#include "eav/error.h"
#include "text/tokenizer/charsmap.h"

namespace eav::text {
namespace {

// The protocol buffer message in which a model is stored. libsentencepiece checks it, but hands out neither the kinds
// of pieces nor the normalizer's table; its message classes are not installed.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  struct Field {
    uint64_t number;
    uint64_t value = 0;      // of a whole number, or the bits of a float
    std::string_view bytes;  // of a string or a message
  };
  // Reads the next field; false at the end.
  bool next(Field& field) {
    if (bytes_.empty()) return false;
    const auto tag = varint();
    field = {tag >> 3, 0, {}};
    switch (tag & 7) {
      case 0:
        field.value = varint();
        break;
      case 1:
        field.value = little_endian(take(8));
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.value = little_endian(take(4));
        break;
      default:
        throw Error("is no valid SentencePiece model");
    }
    return true;
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size()) throw Error("is a truncated SentencePiece model");
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t number = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      number |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) break;
    }
    return number;
  }
  static uint64_t little_endian(std::string_view bytes) {
    uint64_t number = 0;
    for (size_t i = bytes.size(); i-- > 0;) number = number << 8 | static_cast<unsigned char>(bytes[i]);
    return number;
  }

  std::string_view bytes_;
};

// The numbers of the fields in SentencePiece's sentencepiece_model.proto.
constexpr uint64_t kPieces = 1, kTrainer = 2, kNormalizer = 3;
constexpr uint64_t kPieceText = 1, kPieceScore = 2, kPieceKind = 3;
constexpr uint64_t kTrainerModel = 3;
constexpr uint64_t kNormalizerCharsmap = 2;
constexpr uint64_t kUnigram = 1, kControl = 3, kUserDefined = 4;

struct StoredPiece {
  std::string text;
  float score = 0;
  uint64_t kind = 0;
};

StoredPiece read_piece(Message message) {
  StoredPiece piece;
  for (Message::Field field; message.next(field);) {
    if (field.number == kPieceText) piece.text = field.bytes;
    if (field.number == kPieceScore) piece.score = std::bit_cast<float>(static_cast<uint32_t>(field.value));
    if (field.number == kPieceKind) piece.kind = field.value;
  }
  return piece;
}

}  // namespace

UnigramParts read_sentencepiece(const std::filesystem::path& path) try {
  sentencepiece::SentencePieceProcessor processor;
  if (!processor.Load(path.string()).ok()) throw Error("is no valid SentencePiece model");
  const std::string bytes = processor.serialized_model_proto();

  UnigramParts parts;
  Message model(bytes);
  for (Message::Field field; model.next(field);) {
    Message inner(field.bytes);
    if (field.number == kPieces) {
      auto piece = read_piece(inner);
      if (piece.kind == kControl || piece.kind == kUserDefined) parts.symbols.push_back(piece.text);
      parts.vocabulary.emplace_back(std::move(piece.text), piece.score);
    }
    for (Message::Field setting; field.number == kTrainer && inner.next(setting);)
      if (setting.number == kTrainerModel && setting.value != kUnigram)
        throw Error("is a SentencePiece model of another kind than Unigram, which is not supported");
    for (Message::Field setting; field.number == kNormalizer && inner.next(setting);)
      if (setting.number == kNormalizerCharsmap && !setting.bytes.empty()) parts.normalizer = Charsmap(setting.bytes);
  }
  return parts;
} catch (const Error& error) {
  throw Error(fmt::format("{}: {}", path.string(), error.what()));
}

}  // namespace eav::text
