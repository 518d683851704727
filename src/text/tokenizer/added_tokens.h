// Tokens that are found in a text as they are, before the model sees the rest: "</s>", "<extra_id_0>", "<|endoftext|>".
#pragma once
#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/model.h"
#include "text/tokenizer/normalizer.h"
#include "text/tokenizer/piece.h"

namespace eav::text {

struct AddedToken {
  std::string content;
  bool single_word = false;  // only where no word character is beside it
  bool lstrip = false;       // takes the white space on its left along
  bool rstrip = false;       // and on its right
  bool normalized = false;   // looked for in normalized text, in its own normalized form
};

class AddedTokens {
 public:
  AddedTokens() = default;
  // A token that the model's vocabulary has keeps its id there; the others get ids behind the vocabulary, in order.
  AddedTokens(std::vector<AddedToken> tokens, const Model& model, const Normalizer& normalizer);

  // Cuts `text` into added tokens, whose pieces have an id, and normalized text between them.
  std::vector<Piece> split(std::string_view text, const Normalizer& normalizer) const;

  std::optional<int64_t> id(const std::string& content) const;
  std::optional<std::string> content(int64_t id) const;  // normalized where the token is
  // How many of them have an id that is not in the model's vocabulary.
  int64_t beyond_model() const { return beyond_model_; }

 private:
  struct Entry {
    AddedToken token;
    std::string written;  // how it looks where it is looked for
    int64_t id;
  };
  // Cuts a piece at the entries, which are all normalized or all not.
  static void cut(const Piece& piece, const std::vector<Entry>& entries, std::vector<Piece>& pieces);

  std::vector<Entry> verbatim_, normalized_;  // the longest first
  std::map<std::string, int64_t> ids_;
  std::map<int64_t, std::string> contents_;
  int64_t beyond_model_ = 0;
};

}  // namespace eav::text
