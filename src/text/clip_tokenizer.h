// The tokenizer of CLIP.
#pragma once
#include <filesystem>

#include "text/tokenizer.h"

namespace eav {

// Opens a tokenizer folder: vocab.json and merges.txt, or tokenizer.json when only that is there, with the special
// tokens that its other files name. Ids equal those of transformers' CLIPTokenizer. Throws eav::Error.
Tokenizer open_clip_tokenizer(const std::filesystem::path& dir);

}  // namespace eav
