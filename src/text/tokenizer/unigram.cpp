#include "text/tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <ranges>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

Unigram::Unigram(Vocabulary vocabulary, std::optional<int64_t> unknown, bool byte_fallback)
    : vocabulary_(std::move(vocabulary)), unknown_(unknown), byte_fallback_(byte_fallback) {
  if (unknown_ && (*unknown_ < 0 || *unknown_ >= size()))
    throw Error(fmt::format("the unknown token has id {}, outside the vocabulary of {} tokens", *unknown_, size()));
  constexpr double kUnknownPenalty = 10;
  auto lowest = std::numeric_limits<double>::infinity();
  for (const auto& [token, score] : vocabulary_) lowest = std::min(lowest, score);
  unknown_score_ = lowest - kUnknownPenalty;

  sorted_.resize(vocabulary_.size());
  std::iota(sorted_.begin(), sorted_.end(), 0);
  // Of equal tokens the last one counts.
  std::ranges::sort(sorted_, [this](int64_t a, int64_t b) {
    const auto order = text(a).compare(text(b));
    return order != 0 ? order < 0 : a > b;
  });
  const auto repeated = std::ranges::unique(sorted_, {}, [this](int64_t id) { return text(id); });
  sorted_.erase(repeated.begin(), repeated.end());
}

std::optional<int64_t> Unigram::id(std::string_view token) const {
  const auto found = std::ranges::lower_bound(sorted_, token, {}, [this](int64_t id) { return text(id); });
  return found == sorted_.end() || text(*found) != token ? std::nullopt : std::optional(*found);
}

template <class Found>
void Unigram::each_prefix(std::string_view word, const Found& found) const {
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

std::optional<std::string> Unigram::token(int64_t id) const {
  return id < 0 || id >= size() ? std::nullopt : std::optional(vocabulary_[static_cast<size_t>(id)].first);
}

std::vector<std::string_view> Unigram::best_path(std::string_view word) const {
  // The best path that ends at each byte: its score, and its last part.
  struct Node {
    double score = 0;
    std::optional<size_t> begin;
    std::optional<int64_t> id;  // none where the model has no unknown token
  };
  std::vector<Node> nodes(word.size() + 1);
  for (size_t begin = 0, first; begin < word.size(); begin += first) {
    first = code_point_length(word, begin);
    bool has_single_character = false;
    const auto reach = [&](size_t end, double score, std::optional<int64_t> id) {
      auto& node = nodes[end];
      score += nodes[begin].score;
      if (!node.begin || score > node.score) node = {score, begin, id};
    };
    each_prefix(word.substr(begin), [&](size_t length, int64_t id) {
      reach(begin + length, vocabulary_[static_cast<size_t>(id)].second, id);
      has_single_character |= length == first;
    });
    if (!has_single_character) reach(begin + first, unknown_score_, unknown_);
  }

  std::vector<std::string_view> parts;
  bool unknown_before = false;  // whether the part that was added last is unknown
  for (size_t end = word.size(); end > 0;) {
    const auto begin = *nodes[end].begin;
    const bool unknown = nodes[end].id == unknown_;
    if (unknown && unknown_before)
      parts.back() = {word.data() + begin, parts.back().size() + end - begin};
    else
      parts.push_back(word.substr(begin, end - begin));
    unknown_before = unknown;
    end = begin;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

void Unigram::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  for (const auto part : best_path(word)) {
    if (const auto known = id(part)) {
      ids.push_back(*known);
      continue;
    }
    std::vector<int64_t> bytes;
    if (byte_fallback_)
      for (const unsigned char byte : part)
        if (const auto known = id(fmt::format("<0x{:02X}>", byte))) bytes.push_back(*known);
    if (byte_fallback_ && bytes.size() == part.size())
      ids.insert(ids.end(), bytes.begin(), bytes.end());
    else if (unknown_)
      ids.push_back(*unknown_);
    else
      throw Error(fmt::format("\"{}\" is not in the tokenizer's vocabulary, which has no unknown token", part));
  }
}

}  // namespace eav::text
