// What files say of a Unigram tokenizer, whatever pipeline it stands in.
#pragma once
#include <string>
#include <vector>

#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/unigram.h"

namespace eav::text {

struct UnigramParts {
  Unigram::Vocabulary vocabulary;
  Normalizer normalizer = unchanged();  // by the file's table of characters, where it has one
  std::vector<std::string> symbols;     // tokens that are never cut: control symbols and user-defined ones
};

}  // namespace eav::text
