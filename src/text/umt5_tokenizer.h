// The tokenizer of UMT5.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"

namespace eav {

// Opens a tokenizer folder. Ids equal those of the `tokenizers` package on its tokenizer.json, or where there is none,
// those of SentencePiece on its spiece.model, with </s> behind them. Throws eav::Error.
Tokenizer open_umt5_tokenizer(const std::filesystem::path& dir);

}  // namespace eav
