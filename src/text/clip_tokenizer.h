// The tokenizer of CLIP.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"

namespace eav {

// Opens a tokenizer folder: the vocabulary and merges of tokenizer.json, or of vocab.json and merges.txt without it,
// with the special tokens that tokenizer_config.json, special_tokens_map.json and added_tokens.json name. Ids equal
// those of transformers' CLIPTokenizer, whose other stages are the same for every folder. Throws eav::Error.
Tokenizer open_clip_tokenizer(const std::filesystem::path& dir);

}  // namespace eav
