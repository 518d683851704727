// The reader of SentencePiece models (spiece.model).
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/unigram_parts.h"

namespace eav::text {

// What a model's file holds, or llama.cpp's header of one.
struct StoredPieces {
  std::vector<SentencePiece::Piece> pieces;
  std::string charsmap;  // the bytes of its table of characters; empty: none
  bool byte_fallback = false;
  SentencePiece::Spaces spaces;
};

// Throw eav::Error that names the file when it is no valid model, or not a Unigram one.
StoredPieces read_stored_pieces(std::string_view bytes, const std::string& name);
void check_pieces(const StoredPieces& stored, const std::string& name);
UnigramParts read_sentencepiece(const std::filesystem::path& path);
// The same of a file's bytes, which messages call `name`, and of what was read.
UnigramParts read_sentencepiece(std::string_view bytes, const std::string& name);
UnigramParts unigram_parts(const StoredPieces& stored, const std::string& name);

// The model as SentencePiece itself runs it. Throws eav::Error as above, and where it has a table of characters.
SentencePiece read_sentencepiece_model(const std::filesystem::path& path);
SentencePiece read_sentencepiece_model(std::string_view bytes, const std::string& name);
SentencePiece sentencepiece_model(StoredPieces stored, const std::string& name);

}  // namespace eav::text
