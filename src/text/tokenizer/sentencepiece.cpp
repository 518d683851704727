#include "text/tokenizer/sentencepiece.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/lfs.h"
#include "base/regular_file.h"
#include "eav/error.h"
#include "text/tokenizer/charsmap.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

// The errors below leave out the file, which read_sentencepiece() puts before them.
Error invalid(const std::string& what) { return Error("is no valid SentencePiece model: " + what); }

// The protocol buffer message in which a model is stored: a row of numbered fields.
class Message {
 public:
  explicit Message(std::string_view bytes) : bytes_(bytes) {}

  class Field {
   public:
    uint64_t number = 0;

    // The value, where the field is of the kind that is asked for. Throws eav::Error when it is not.
    uint64_t whole() const { return of(kVarint).value_; }
    float real() const { return std::bit_cast<float>(static_cast<uint32_t>(of(kFixed32).value_)); }
    std::string_view bytes() const { return of(kBytes).bytes_; }

   private:
    friend class Message;
    static constexpr uint64_t kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5;

    const Field& of(uint64_t kind) const {
      if (kind_ != kind) throw invalid(fmt::format("field {} is stored as another kind than the format's", number));
      return *this;
    }

    uint64_t kind_ = kVarint;
    uint64_t value_ = 0;
    std::string_view bytes_;
  };

  // Reads the next field; false at the end.
  bool next(Field& field) {
    if (bytes_.empty()) return false;
    const auto tag = varint();
    field = {};
    field.number = tag >> 3;
    field.kind_ = tag & 7;
    if (field.number == 0) throw invalid("a field has no number");
    switch (field.kind_) {
      case Field::kVarint:
        field.value_ = varint();
        break;
      case Field::kFixed64:
        field.value_ = little_endian(take(8));
        break;
      case Field::kBytes:
        field.bytes_ = take(varint());
        break;
      case Field::kFixed32:
        field.value_ = little_endian(take(4));
        break;
      default:
        throw invalid(fmt::format("field {} is stored as an unknown kind", field.number));
    }
    return true;
  }

 private:
  std::string_view take(uint64_t size) {
    if (size > bytes_.size())
      throw invalid(fmt::format("truncated: {} bytes are to follow where {} are left", size, bytes_.size()));
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  uint64_t varint() {
    uint64_t number = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      number |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return number;
    }
    throw invalid("a number does not end");
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
constexpr uint64_t kTrainerModel = 3, kTrainerSpaceAsSuffix = 24, kTrainerByteFallback = 35;
constexpr uint64_t kNormalizerCharsmap = 2, kNormalizerPrefix = 3, kNormalizerSpaces = 4, kNormalizerEscapes = 5;

constexpr std::array kModels{"Unigram", "BPE", "word", "character"};  // by kTrainerModel, from 1
using enum SentencePiece::Kind;

SentencePiece::Piece read_piece(Message message) {
  SentencePiece::Piece piece{"", 0, kNormal};
  for (Message::Field field; message.next(field);) {
    if (field.number == kPieceText) piece.text = field.bytes();
    if (field.number == kPieceScore) piece.score = field.real();
    if (field.number == kPieceKind) piece.kind = static_cast<SentencePiece::Kind>(field.whole());
  }
  return piece;
}

// A byte's piece is written as <0x0A>.
bool names_byte(std::string_view text) {
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F'); };
  return text.size() == 6 && text.starts_with("<0x") && is_digit(text[3]) && is_digit(text[4]) && text[5] == '>';
}

void check(const StoredPieces& stored) {
  const auto& pieces = stored.pieces;
  if (pieces.empty()) throw invalid("it has no pieces");
  std::unordered_set<std::string_view> known;
  known.reserve(pieces.size());
  size_t bytes = 0, unknown = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto& [text, score, kind] = pieces[i];
    const auto bad = [&](const std::string& what) { return invalid(fmt::format("piece {} {}", i, what)); };
    if (text.empty()) throw bad("has no text");
    if (!is_utf8(text)) throw bad("is not UTF-8");
    if (!known.insert(text).second) throw bad("is there twice");
    if (!std::isfinite(score)) throw bad("has a score that is no number");
    if (kind < kNormal || kind > kByte)
      throw bad(fmt::format("is of the unknown kind {}", static_cast<uint64_t>(kind)));
    if (kind == kByte && !stored.byte_fallback) throw bad("stands for a byte, which the model does not use");
    if (kind == kByte && !names_byte(text)) throw bad("is to stand for a byte, and names none");
    bytes += kind == kByte;
    unknown += kind == kUnknown;
  }
  if (unknown != 1) throw invalid(fmt::format("{} pieces stand for unknown characters, expected 1", unknown));
  if (stored.byte_fallback && bytes != 256)
    throw invalid(fmt::format("{} pieces stand for bytes, expected 256", bytes));
}

StoredPieces read_stored(std::string_view bytes) {
  StoredPieces stored;
  Message model(bytes);
  for (Message::Field field; model.next(field);) {
    if (field.number == kPieces) {
      stored.pieces.push_back(read_piece(Message(field.bytes())));
    } else if (field.number == kTrainer) {
      Message trainer(field.bytes());
      for (Message::Field setting; trainer.next(setting);) {
        if (setting.number == kTrainerByteFallback) stored.byte_fallback = setting.whole() != 0;
        if (setting.number == kTrainerSpaceAsSuffix) stored.spaces.as_suffix = setting.whole() != 0;
        if (setting.number != kTrainerModel || setting.whole() == 1) continue;
        const auto kind = setting.whole() - 1;
        throw Error(fmt::format("is a SentencePiece model of the kind {}, which is not supported; expected Unigram",
                                kind < kModels.size() ? kModels[kind] : std::to_string(setting.whole())));
      }
    } else if (field.number == kNormalizer) {
      Message normalizer(field.bytes());
      for (Message::Field setting; normalizer.next(setting);) {
        if (setting.number == kNormalizerCharsmap) stored.charsmap = setting.bytes();
        if (setting.number == kNormalizerPrefix) stored.spaces.add_dummy_prefix = setting.whole() != 0;
        if (setting.number == kNormalizerSpaces) stored.spaces.remove_extra = setting.whole() != 0;
        if (setting.number == kNormalizerEscapes) stored.spaces.escape = setting.whole() != 0;
      }
    }
  }
  check(stored);
  return stored;
}

UnigramParts parts_of(const StoredPieces& stored) {
  UnigramParts parts;
  if (!stored.charsmap.empty()) parts.normalizer = Charsmap(stored.charsmap);
  for (const auto& piece : stored.pieces) {
    if (piece.kind == kControl || piece.kind == kUserDefined) parts.symbols.push_back(piece.text);
    parts.vocabulary.emplace_back(piece.text, piece.score);
  }
  return parts;
}

SentencePiece model_of(StoredPieces stored) {
  if (!stored.charsmap.empty())
    throw Error("is a SentencePiece model with a table of characters, which is not supported here");
  return {std::move(stored.pieces), stored.byte_fallback, stored.spaces};
}

// What `read` gives; names the file in what it throws.
template <class Read>
auto named(const std::string& name, const Read& read) {
  try {
    return read();
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", name, error.what()));
  }
}

std::string bytes_of(const std::filesystem::path& path) {
  auto bytes = read_file(path);
  refuse_lfs_pointer(path, bytes);
  return bytes;
}

}  // namespace

StoredPieces read_stored_pieces(std::string_view bytes, const std::string& name) {
  return named(name, [&] { return read_stored(bytes); });
}

void check_pieces(const StoredPieces& stored, const std::string& name) {
  named(name, [&] { check(stored); });
}

UnigramParts unigram_parts(const StoredPieces& stored, const std::string& name) {
  return named(name, [&] { return parts_of(stored); });
}

UnigramParts read_sentencepiece(std::string_view bytes, const std::string& name) {
  return unigram_parts(read_stored_pieces(bytes, name), name);
}

UnigramParts read_sentencepiece(const std::filesystem::path& path) {
  return read_sentencepiece(bytes_of(path), path.string());
}

SentencePiece sentencepiece_model(StoredPieces stored, const std::string& name) {
  return named(name, [&] { return model_of(std::move(stored)); });
}

SentencePiece read_sentencepiece_model(std::string_view bytes, const std::string& name) {
  return sentencepiece_model(read_stored_pieces(bytes, name), name);
}

SentencePiece read_sentencepiece_model(const std::filesystem::path& path) {
  return read_sentencepiece_model(bytes_of(path), path.string());
}

}  // namespace eav::text
