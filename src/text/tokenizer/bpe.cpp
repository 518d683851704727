#include "text/tokenizer/bpe.h"

#include <fmt/format.h>

#include <queue>
#include <tuple>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

Bpe::Bpe(Vocabulary vocabulary, const Merges& merges, BpeOptions options)
    : vocabulary_(std::move(vocabulary)), options_(std::move(options)) {
  for (const auto& [token, id] : vocabulary_) tokens_[id] = token;
  const auto known = [&](const std::string& token) {
    const auto found = id(token);
    if (!found) throw Error(fmt::format("a merge names \"{}\", which is not in the vocabulary", token));
    return *found;
  };
  if (!options_.unknown.empty()) unknown_ = known(options_.unknown);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto prefix =
        right.starts_with(options_.continuing_subword_prefix) ? options_.continuing_subword_prefix.size() : 0;
    merges_.insert_or_assign(Pair{known(left), known(right)}, Merge{rank, known(left + right.substr(prefix))});
  }
}

std::optional<int64_t> Bpe::id(std::string_view token) const {
  const auto found = vocabulary_.find(std::string(token));
  return found == vocabulary_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> Bpe::token(int64_t id) const {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? std::nullopt : std::optional(found->second);
}

void Bpe::tokenize(std::string_view word, std::vector<int64_t>& ids) const {
  if (options_.ignore_merges)
    if (const auto whole = id(word)) {
      ids.push_back(*whole);
      return;
    }
  auto symbols = characters(word);
  merge(symbols);
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

std::vector<int64_t> Bpe::characters(std::string_view word) const {
  std::vector<int64_t> symbols;
  // An unknown character is added only once a known one, or the end, follows it.
  bool unknown_waits = false;
  const auto add_waiting = [&] {
    if (unknown_waits) symbols.push_back(*unknown_);
    unknown_waits = false;
  };
  for (size_t i = 0, length; i < word.size(); i += length) {
    length = code_point_length(word, i);
    const bool first = i == 0, last = i + length == word.size();
    auto character = std::string(word.substr(i, length));
    if (!first) character.insert(0, options_.continuing_subword_prefix);
    if (last) character += options_.end_of_word_suffix;
    if (const auto known = id(character)) {
      add_waiting();
      symbols.push_back(*known);
      continue;
    }
    if (options_.byte_fallback) {
      std::vector<int64_t> bytes;
      for (const unsigned char byte : character)
        if (const auto known = id(fmt::format("<0x{:02X}>", byte))) bytes.push_back(*known);
      if (bytes.size() == character.size()) {
        symbols.insert(symbols.end(), bytes.begin(), bytes.end());
        continue;
      }
    }
    if (!unknown_) continue;
    if (!options_.fuse_unknown) add_waiting();
    unknown_waits = true;
  }
  add_waiting();
  return symbols;
}

void Bpe::merge(std::vector<int64_t>& symbols) const {
  constexpr size_t kNone = std::numeric_limits<size_t>::max();
  constexpr int64_t kMerged = -1;  // the symbol became a part of the one on its left
  std::vector<size_t> left(symbols.size()), right(symbols.size());
  for (size_t i = 0; i < symbols.size(); ++i) left[i] = i - 1, right[i] = i + 1 < symbols.size() ? i + 1 : kNone;

  using Candidate = std::tuple<size_t, size_t, Pair, int64_t>;  // rank, place, the pair there, what it becomes
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](size_t place) {
    if (place == kNone || right[place] == kNone) return;
    const Pair pair{symbols[place], symbols[right[place]]};
    if (const auto found = merges_.find(pair); found != merges_.end())
      candidates.emplace(found->second.rank, place, pair, found->second.id);
  };
  for (size_t i = 0; i < symbols.size(); ++i) consider(i);

  while (!candidates.empty()) {
    const auto [rank, place, pair, merged] = candidates.top();
    candidates.pop();
    const auto next = right[place];
    if (next == kNone || Pair{symbols[place], symbols[next]} != pair) continue;  // an earlier merge changed it
    symbols[place] = merged;
    symbols[next] = kMerged;
    right[place] = right[next];
    if (right[next] != kNone) left[right[next]] = place;
    consider(left[place]);
    consider(place);
  }
  std::erase(symbols, kMerged);
}

std::pair<std::string, std::string> parse_merge(std::string_view text) {
  const auto space = text.find(' ');
  if (space == text.npos || text.find(' ', space + 1) != text.npos)
    throw Error(fmt::format("the merge \"{}\" is not two tokens with a space between them", text));
  return {std::string(text.substr(0, space)), std::string(text.substr(space + 1))};
}

}  // namespace eav::text
