// The tokens of a Unigram vocabulary, and those among them that a text begins with.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <optional>
#include <ranges>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace eav::text {

class PieceTable {
 public:
  using Vocabulary = std::vector<std::pair<std::string, double>>;  // tokens with the logarithm of their probability

  // Texts are looked through for the tokens that `listed` holds for: for all, where it is empty.
  explicit PieceTable(Vocabulary vocabulary, const std::function<bool(int64_t id)>& listed = {});

  int64_t size() const { return static_cast<int64_t>(vocabulary_.size()); }
  // Of an id that is in the vocabulary.
  std::string_view text(int64_t id) const { return vocabulary_[static_cast<size_t>(id)].first; }
  double score(int64_t id) const { return vocabulary_[static_cast<size_t>(id)].second; }

  // The id of a listed token.
  std::optional<int64_t> id(std::string_view token) const;
  // The token of any id.
  std::optional<std::string> token(int64_t id) const;
  // Calls found(length, id) for every listed token that `word` begins with, from the shortest on.
  template <class Found>
  void each_prefix(std::string_view word, const Found& found) const;

 private:
  Vocabulary vocabulary_;
  std::vector<int64_t> sorted_;  // ids in the order of their tokens' bytes: what begins alike lies together
};

template <class Found>
void PieceTable::each_prefix(std::string_view word, const Found& found) const {
  auto tokens = std::ranges::subrange(sorted_);  // those that begin with the first `length` bytes of `word`
  if (!tokens.empty() && text(tokens.front()).empty()) tokens.advance(1);
  if (tokens.empty()) return;
  for (size_t length = 0; length < word.size(); ++length) {
    if (tokens.size() == 1) {
      const auto token = text(tokens.front());
      if (word.substr(length).starts_with(token.substr(length))) found(token.size(), tokens.front());
      return;
    }
    const auto byte = static_cast<unsigned char>(word[length]);
    const auto next = [&](int64_t id) { return static_cast<unsigned char>(text(id)[length]); };
    if (next(tokens.front()) != byte || next(tokens.back()) != byte)  // seldom not, in deep chains of tokens
      tokens = std::ranges::equal_range(tokens, byte, {}, next);
    if (tokens.empty()) return;
    if (text(tokens.front()).size() > length + 1) continue;
    found(length + 1, tokens.front());
    tokens.advance(1);
    if (tokens.empty()) return;
  }
}

}  // namespace eav::text
