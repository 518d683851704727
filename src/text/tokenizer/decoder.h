// The way back: tokens to readable text.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "text/tokenizer/normalizer.h"

namespace eav::text {

// Rewrites tokens; the text is what it returns, joined.
using Decoder = std::function<std::vector<std::string>(std::vector<std::string> tokens)>;

Decoder spaces_between();                                           // for tokenizers that name no decoder
Decoder joined();                                                   // all tokens become one
Decoder metaspace_decoder(std::string replacement, bool prepends);  // `prepends`: the first token's is dropped
Decoder byte_level_decoder();
Decoder byte_fallback_decoder();   // tokens such as <0xC3> become the characters whose bytes they are
Decoder each(Normalizer rewrite);  // changes every token
Decoder in_order(std::vector<Decoder> decoders);

}  // namespace eav::text
