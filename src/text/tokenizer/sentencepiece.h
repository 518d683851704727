// The reader of SentencePiece models (spiece.model).
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "text/tokenizer/sentencepiece_model.h"
#include "text/tokenizer/unigram_parts.h"

namespace eav::text {

// Throws eav::Error that names the file when it is no valid model, or not a Unigram one.
UnigramParts read_sentencepiece(const std::filesystem::path& path);
// The same of a file's bytes, which messages call `name`.
UnigramParts read_sentencepiece(std::string_view bytes, const std::string& name);

// The model as SentencePiece itself runs it. Throws eav::Error as above, and where it has a table of characters.
SentencePiece read_sentencepiece_model(const std::filesystem::path& path);
SentencePiece read_sentencepiece_model(std::string_view bytes, const std::string& name);

}  // namespace eav::text
