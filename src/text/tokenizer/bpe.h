// Byte pair encoding: a word's characters are merged, the most frequent pairs first.
#pragma once
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/tokenizer/model.h"

namespace eav::text {

// How a BPE model deals with words, besides its merges.
struct BpeOptions {
  std::string unknown = {};  // the token of characters outside the vocabulary; empty: they are dropped
  std::string continuing_subword_prefix = {};  // written before every character of a word but the first
  std::string end_of_word_suffix = {};         // written behind the last one
  bool fuse_unknown = false;                   // neighbouring unknown characters are one token
  bool byte_fallback = false;                  // they become tokens such as <0x0A> where the vocabulary has these
  bool ignore_merges = false;                  // a word that is in the vocabulary is one token, whatever the merges say
};

class Bpe final : public Model {
 public:
  using Vocabulary = std::unordered_map<std::string, int64_t>;
  using Merges = std::vector<std::pair<std::string, std::string>>;  // the first is done first

  // Throws eav::Error when a merge names a token that the vocabulary lacks.
  Bpe(Vocabulary vocabulary, const Merges& merges, BpeOptions options);

  void tokenize(std::string_view word, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id(std::string_view token) const override;
  std::optional<std::string> token(int64_t id) const override;
  int64_t size() const override { return static_cast<int64_t>(vocabulary_.size()); }

 private:
  struct Merge {
    size_t rank;
    int64_t id;  // of the merged token
  };
  using Pair = std::pair<int64_t, int64_t>;
  struct PairHash {
    size_t operator()(const Pair& pair) const {
      return std::hash<uint64_t>()(static_cast<uint64_t>(pair.first) << 32 ^ static_cast<uint64_t>(pair.second));
    }
  };

  std::vector<int64_t> characters(std::string_view word) const;
  void merge(std::vector<int64_t>& symbols) const;

  Vocabulary vocabulary_;
  std::unordered_map<int64_t, std::string> tokens_;
  std::unordered_map<Pair, Merge, PairHash> merges_;
  BpeOptions options_;
  std::optional<int64_t> unknown_;
};

// A merge as text: two tokens with a space between them. Throws eav::Error when it is none.
std::pair<std::string, std::string> parse_merge(std::string_view text);

}  // namespace eav::text
