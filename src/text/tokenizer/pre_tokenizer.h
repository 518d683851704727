// The second stage of a tokenizer: how normalized text is cut into the words that the model sees.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "text/tokenizer/pattern.h"
#include "text/tokenizer/piece.h"

namespace eav::text {

// Cuts a piece that is no token yet; empty pieces may come out.
using PreTokenizer = std::function<std::vector<Piece>(Piece piece)>;

PreTokenizer one_word();  // leaves a piece whole
PreTokenizer split_at(Pattern pattern, Delimiter delimiter);

// SentencePiece's way: spaces are written as `replacement` ("▁"), which also begins a word.
enum class Prepend { always, first, never };
PreTokenizer metaspace(const std::string& replacement, Prepend prepend, bool split = true);

// Writes every byte as one printable character, after a split into words where `split_words` is set.
PreTokenizer byte_level(bool prepend_space, bool split_words);

PreTokenizer in_order(std::vector<PreTokenizer> pre_tokenizers);

}  // namespace eav::text
