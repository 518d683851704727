// The tokenizer of T5 and its relatives.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"

namespace eav {

// Opens a tokenizer folder: spiece.model, or tokenizer.json when only that is there, with the special tokens that
// tokenizer_config.json, special_tokens_map.json and added_tokens.json name. Ids equal those of transformers'
// T5Tokenizer. Throws eav::Error.
Tokenizer open_t5_tokenizer(const std::filesystem::path& dir);

}  // namespace eav
