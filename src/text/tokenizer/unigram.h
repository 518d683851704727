// The Unigram model: the most probable way to write a word with tokens that each have a probability.
#pragma once
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/tokenizer/model.h"

namespace eav::text {

class Unigram : public Model {
 public:
  using Vocabulary = std::vector<std::pair<std::string, double>>;  // tokens with the logarithm of their probability

  // `unknown` is the id of characters outside the vocabulary; with `byte_fallback` they become tokens such as <0x0A>
  // where the vocabulary has these. Throws eav::Error when `unknown` is outside the vocabulary.
  Unigram(Vocabulary vocabulary, std::optional<int64_t> unknown, bool byte_fallback = false);
  Unigram(const Unigram&) = delete;  // ids_ looks into vocabulary_
  Unigram& operator=(const Unigram&) = delete;

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id(std::string_view token) const override;
  std::optional<std::string> token(int64_t id) const override;
  int64_t size() const override { return static_cast<int64_t>(vocabulary_.size()); }

 private:
  // The parts of the best path through a word, in order; neighbouring unknown characters are one part.
  std::vector<std::string_view> best_path(std::string_view word) const;

  Vocabulary vocabulary_;
  std::unordered_map<std::string_view, int64_t> ids_;  // views into vocabulary_
  size_t longest_ = 0;                                 // token, in bytes
  double unknown_score_;
  std::optional<int64_t> unknown_;
  bool byte_fallback_;
};

}  // namespace eav::text
