// The tokenizer of LLaMA 3.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"

namespace eav {

// Opens a tokenizer folder: tokenizer.json as it stands (transformers 5 replaces its stages when it opens LLaMA 3's as
// a LlamaTokenizer), with the padding that tokenizer_config.json or special_tokens_map.json names. Throws eav::Error,
// also when these put padding before the text: HunyuanVideo drops the first tokens, those of its template, which
// padding would push back.
Tokenizer open_llama_tokenizer(const std::filesystem::path& dir);

}  // namespace eav
