// The reader of tokenizer.json, the file of the `tokenizers` package.
#pragma once
#include "text/tokenizer.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/unigram_parts.h"
#include "weights/config.h"

namespace eav::text {

// The tokenizer that the file describes. What it says of truncation and padding is left out: that is its user's choice.
// Throws eav::Error when the file is malformed or names a part that is not supported.
Tokenizer read_tokenizer_json(const JsonFile& file);

// What a tokenizer with a pipeline of its own takes from the file.
UnigramParts read_unigram_parts(const JsonFile& file);

// The ids of BPE's tokens, as tokenizer.json and vocab.json hold them. Throws the JSON library's exceptions.
Bpe::Vocabulary read_bpe_vocabulary(const nlohmann::json& ids);

}  // namespace eav::text
