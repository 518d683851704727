// The readers of tokenizer.json, the file of the `tokenizers` package, and of the files that came before it.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/unigram_parts.h"

namespace eav::text {

// The tokenizer that the file describes. What it says of truncation and padding is left out: that is its user's choice.
// Throws eav::Error when the file is malformed or names a part that is not supported.
Tokenizer read_tokenizer_json(const std::filesystem::path& path);

// What a tokenizer with a pipeline of its own takes from the file.
UnigramParts read_unigram_parts(const std::filesystem::path& path);

struct BpeParts {
  Bpe::Vocabulary vocabulary;
  Bpe::Merges merges;
};
BpeParts read_bpe_parts(const std::filesystem::path& path);
// The same from a vocab.json and a merges.txt.
BpeParts read_bpe_files(const std::filesystem::path& vocabulary, const std::filesystem::path& merges);

}  // namespace eav::text
