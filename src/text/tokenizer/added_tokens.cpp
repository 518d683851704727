#include "text/tokenizer/added_tokens.h"

#include <algorithm>
#include <utility>

#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

bool touches_word(std::string_view text, size_t begin, size_t end) {
  return (begin > 0 && is_word(code_point(text, code_point_start(text, begin)))) ||
         (end < text.size() && is_word(code_point(text, end)));
}

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens, const Model& model, const Normalizer& normalizer) {
  auto next = model.size();
  for (auto& token : tokens) {
    if (token.content.empty() || ids_.contains(token.content)) continue;
    const auto known = model.id(token.content);
    const auto id = known ? *known : next++;
    const auto written = token.normalized ? normalizer(token.content) : token.content;
    ids_[token.content] = id;
    contents_[id] = written;
    beyond_model_ += !known;
    auto& entries = token.normalized ? normalized_ : verbatim_;
    if (!written.empty()) entries.push_back({std::move(token), written, id});
  }
  for (auto* entries : {&verbatim_, &normalized_})
    std::stable_sort(entries->begin(), entries->end(),
                     [](const Entry& a, const Entry& b) { return a.written.size() > b.written.size(); });
}

std::optional<int64_t> AddedTokens::id(const std::string& content) const {
  const auto found = ids_.find(content);
  return found == ids_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::string> AddedTokens::content(int64_t id) const {
  const auto found = contents_.find(id);
  return found == contents_.end() ? std::nullopt : std::optional(found->second);
}

std::vector<Piece> AddedTokens::split(std::string_view text, const Normalizer& normalizer) const {
  std::vector<Piece> verbatim, pieces;
  cut({std::string(text), /*first=*/true, std::nullopt}, verbatim_, verbatim);
  for (auto& piece : verbatim) {
    if (piece.id) {
      pieces.push_back(std::move(piece));
      continue;
    }
    piece.text = normalizer(std::move(piece.text));
    cut(piece, normalized_, pieces);
  }
  return pieces;
}

void AddedTokens::cut(const Piece& piece, const std::vector<Entry>& entries, std::vector<Piece>& pieces) {
  const std::string_view text = piece.text;
  size_t done = 0;  // what lies before is in `pieces`
  const auto add = [&](size_t begin, size_t end, std::optional<int64_t> id) {
    if (begin < end) pieces.push_back({std::string(text.substr(begin, end - begin)), piece.first && begin == 0, id});
  };
  for (size_t at = 0; at < text.size();) {
    const auto rest = text.substr(at);
    const auto found = std::ranges::find_if(entries, [&](const Entry& e) { return rest.starts_with(e.written); });
    if (found == entries.end()) {
      at += code_point_length(text, at);
      continue;
    }
    auto begin = at, end = at + found->written.size();
    at = end;
    if (found->token.single_word && touches_word(text, begin, end)) continue;
    if (found->token.lstrip)
      while (begin > done && is_whitespace(code_point(text, code_point_start(text, begin))))
        begin = code_point_start(text, begin);
    if (found->token.rstrip)
      while (end < text.size() && is_whitespace(code_point(text, end))) end += code_point_length(text, end);
    add(done, begin, std::nullopt);
    add(begin, end, found->id);
    done = end;
  }
  add(done, text.size(), std::nullopt);
}

}  // namespace eav::text
