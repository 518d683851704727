// A tokenizer: text to the ids of a text encoder's vocabulary, and back.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/added_tokens.h"
#include "text/tokenizer/decoder.h"
#include "text/tokenizer/model.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/pre_tokenizer.h"

namespace eav {

// The stages of a tokenizer, in the order in which text passes them; the defaults change nothing.
struct TokenizerStages {
  std::shared_ptr<const text::Model> model;
  text::Normalizer normalizer = text::unchanged();
  text::AddedTokens added_tokens;
  text::PreTokenizer pre_tokenizer = text::one_word();
  std::vector<int64_t> before, after;  // ids that enclose every text, such as </s> at its end
  text::Decoder decoder = text::spaces_between();
  int64_t padding = 0;  // the id that fills short texts
};

class Tokenizer {
 public:
  explicit Tokenizer(TokenizerStages stages) : stages_(std::move(stages)) {}

  // The ids of a text with those that enclose it; special tokens inside it count as tokens. Throws eav::Error when
  // `text` is not UTF-8.
  std::vector<int64_t> encode(std::string_view text) const;
  // Readable text of some ids, special tokens included.
  std::string decode(std::span<const int64_t> ids) const;

  std::optional<int64_t> id(const std::string& token) const;
  // One more than the largest id.
  int64_t vocabulary_size() const { return stages_.model->size() + stages_.added_tokens.beyond_model(); }
  const TokenizerStages& stages() const { return stages_; }

 private:
  TokenizerStages stages_;
};

}  // namespace eav
