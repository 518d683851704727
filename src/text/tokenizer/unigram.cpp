#include "text/tokenizer/unigram.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

Unigram::Unigram(Vocabulary vocabulary, std::optional<int64_t> unknown, bool byte_fallback)
    : table_(std::move(vocabulary)), unknown_(unknown), byte_fallback_(byte_fallback) {
  if (unknown_ && (*unknown_ < 0 || *unknown_ >= size()))
    throw Error(fmt::format("the unknown token has id {}, outside the vocabulary of {} tokens", *unknown_, size()));
  constexpr double kUnknownPenalty = 10;
  auto lowest = std::numeric_limits<double>::infinity();
  for (int64_t id = 0; id < size(); ++id) lowest = std::min(lowest, table_.score(id));
  unknown_score_ = lowest - kUnknownPenalty;
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
    table_.each_prefix(word.substr(begin), [&](size_t length, int64_t id) {
      reach(begin + length, table_.score(id), id);
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
