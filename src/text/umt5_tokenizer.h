// The tokenizer of UMT5.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "text/tokenizer.h"
#include "text/tokenizer/sentencepiece_model.h"

namespace eav {

// Opens a tokenizer folder. Ids equal those of the `tokenizers` package on its tokenizer.json, or where there is none,
// those of SentencePiece on its spiece.model, with </s> behind them. Throws eav::Error.
Tokenizer open_umt5_tokenizer(const std::filesystem::path& dir);
// The same of the bytes of a spiece.model, or of a model that was read, which messages call `name`.
Tokenizer open_umt5_tokenizer(std::string_view spiece_model, const std::string& name);
Tokenizer open_umt5_tokenizer(text::SentencePiece model, const std::string& name);

}  // namespace eav
