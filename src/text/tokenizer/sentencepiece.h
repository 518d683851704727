// The reader of SentencePiece models (spiece.model).
#pragma once
#include <filesystem>

#include "text/tokenizer/unigram_parts.h"

namespace eav::text {

// Throws eav::Error when the file is no valid model, or not a Unigram one.
UnigramParts read_sentencepiece(const std::filesystem::path& path);

}  // namespace eav::text
