// The tokenizer of T5 and its relatives.
#pragma once
#include <filesystem>
#include <string>

#include "text/tokenizer.h"
#include "text/tokenizer/unigram_parts.h"

namespace eav {

// Opens a tokenizer folder: spiece.model, or tokenizer.json when only that is there, with the special tokens that
// tokenizer_config.json, special_tokens_map.json and added_tokens.json name. Ids equal those of transformers'
// T5Tokenizer. Throws eav::Error.
Tokenizer open_t5_tokenizer(const std::filesystem::path& dir);
// Of a vocabulary that was read, sentinels included, from what messages call `name`.
Tokenizer open_t5_tokenizer(text::UnigramParts parts, const std::string& name);

}  // namespace eav
