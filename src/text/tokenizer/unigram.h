// The Unigram model: the most probable way to write a word with tokens that each have a probability.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/tokenizer/model.h"

namespace eav::text {

class Unigram final : public Model {
 public:
  using Vocabulary = std::vector<std::pair<std::string, double>>;  // tokens with the logarithm of their probability

  // `unknown` is the id of characters outside the vocabulary; with `byte_fallback` they become tokens such as <0x0A>
  // where the vocabulary has these. Throws eav::Error when `unknown` is outside the vocabulary.
  Unigram(Vocabulary vocabulary, std::optional<int64_t> unknown, bool byte_fallback = false);

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id(std::string_view token) const override;
  std::optional<std::string> token(int64_t id) const override;
  int64_t size() const override { return static_cast<int64_t>(vocabulary_.size()); }

 private:
  // The parts of the best path through a word, in order; neighbouring unknown characters are one part.
  std::vector<std::string_view> best_path(std::string_view word) const;

  std::string_view text(int64_t id) const { return vocabulary_[static_cast<size_t>(id)].first; }
  // Calls found(length, id) for every token that `word` begins with, from the shortest on.
  template <class Found>
  void each_prefix(std::string_view word, const Found& found) const;

  Vocabulary vocabulary_;
  std::vector<int64_t> sorted_;  // ids in the order of their tokens' bytes: what begins alike lies together
  double unknown_score_;
  std::optional<int64_t> unknown_;
  bool byte_fallback_;
};

}  // namespace eav::text
