// The Unigram model: the most probable way to write a word with tokens that each have a probability.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/model.h"
#include "text/tokenizer/piece_table.h"

namespace eav::text {

class Unigram final : public Model {
 public:
  using Vocabulary = PieceTable::Vocabulary;

  // `unknown` is the id of characters outside the vocabulary; with `byte_fallback` they become tokens such as <0x0A>
  // where the vocabulary has these. Throws eav::Error when `unknown` is outside the vocabulary.
  Unigram(Vocabulary vocabulary, std::optional<int64_t> unknown, bool byte_fallback = false);

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id(std::string_view token) const override { return table_.id(token); }
  std::optional<std::string> token(int64_t id) const override { return table_.token(id); }
  int64_t size() const override { return table_.size(); }

 private:
  // The parts of the best path through a word, in order; neighbouring unknown characters are one part.
  std::vector<std::string_view> best_path(std::string_view word) const;

  PieceTable table_;
  double unknown_score_;
  std::optional<int64_t> unknown_;
  bool byte_fallback_;
};

}  // namespace eav::text
