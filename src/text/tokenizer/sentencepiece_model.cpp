#include "text/tokenizer/sentencepiece_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "text/tokenizer/unicode.h"

namespace eav::text {
namespace {

constexpr std::string_view kSpace = "▁";

PieceTable::Vocabulary vocabulary_of(const std::vector<SentencePiece::Piece>& pieces) {
  PieceTable::Vocabulary vocabulary;
  for (const auto& piece : pieces) vocabulary.emplace_back(piece.text, piece.score);
  return vocabulary;
}

std::vector<SentencePiece::Kind> kinds_of(const std::vector<SentencePiece::Piece>& pieces) {
  std::vector<SentencePiece::Kind> kinds;
  for (const auto& piece : pieces) kinds.push_back(piece.kind);
  return kinds;
}

PieceTable user_defined(const std::vector<SentencePiece::Piece>& pieces) {
  PieceTable::Vocabulary symbols;
  for (const auto& piece : pieces)
    if (piece.kind == SentencePiece::kUserDefined) symbols.emplace_back(piece.text, 0);
  return PieceTable(std::move(symbols));
}

}  // namespace

SentencePiece::SentencePiece(std::vector<Piece> pieces, bool byte_fallback, const Spaces& spaces)
    : kinds_(kinds_of(pieces)),
      table_(vocabulary_of(pieces),
             [&](int64_t id) {
               return kinds_[static_cast<size_t>(id)] == kNormal || kinds_[static_cast<size_t>(id)] == kUserDefined;
             }),
      user_defined_(user_defined(pieces)),
      highest_score_(std::numeric_limits<float>::min()),  // as SentencePiece has it: hardly above 0
      spaces_(spaces) {
  auto lowest = std::numeric_limits<float>::max();
  if (byte_fallback) bytes_.resize(256);
  for (size_t i = 0; i < pieces.size(); ++i) {
    const auto& [text, score, kind] = pieces[i];
    const auto id = static_cast<int64_t>(i);
    if (kind == kUnknown) unknown_ = id;
    if (kind == kByte) bytes_.at(std::stoul(text.substr(3, 2), nullptr, 16)) = id;
    if (kind != kNormal) continue;
    lowest = std::min(lowest, score);
    highest_score_ = std::max(highest_score_, score);
  }
  constexpr float kUnknownPenalty = 10;
  unknown_score_ = lowest - kUnknownPenalty;
}

std::optional<int64_t> SentencePiece::id(std::string_view token) const {
  if (const auto known = table_.id(token)) return known;
  for (int64_t i = 0; i < size(); ++i)  // of those that no text is made of: there are few such questions
    if (table_.text(i) == token) return i;
  return std::nullopt;
}

// Spaces as the model wants them. User-defined symbols stay as they are, but for the spaces in them.
std::string SentencePiece::normalized(std::string_view text) const {
  const auto prefix = [&](std::string_view rest) {
    size_t longest = 0;
    user_defined_.each_prefix(rest, [&](size_t length, int64_t) { longest = length; });
    return rest.substr(0, longest > 0 ? longest : code_point_length(rest, 0));
  };
  if (spaces_.remove_extra)
    while (!text.empty() && prefix(text) == " ") text.remove_prefix(1);
  if (text.empty()) return {};

  const std::string space(spaces_.escape ? kSpace : " ");
  std::string result = spaces_.add_dummy_prefix && !spaces_.as_suffix ? space : "";
  bool after_space = spaces_.remove_extra;
  while (!text.empty()) {
    auto part = prefix(text);
    text.remove_prefix(part.size());
    while (after_space && part.starts_with(' ')) part.remove_prefix(1);
    for (const char c : part) c == ' ' ? result += space : result += c;
    if (!part.empty()) after_space = part.ends_with(' ') && spaces_.remove_extra;
  }
  if (spaces_.remove_extra)
    while (result.ends_with(space)) result.resize(result.size() - space.size());
  if (spaces_.add_dummy_prefix && spaces_.as_suffix) result += space;
  return result;
}

void SentencePiece::tokenize(std::string_view raw, std::vector<int64_t>& ids) const {
  const auto text = normalized(raw);
  // The best path that ends at each byte: its score, which is rounded, and its last part.
  struct Node {
    float score = 0;
    std::optional<size_t> begin;
    int64_t id = 0;
  };
  std::vector<Node> nodes(text.size() + 1);
  for (size_t begin = 0, first; begin < text.size(); begin += first) {
    first = code_point_length(text, begin);
    bool has_single_character = false;
    const auto reach = [&](size_t end, auto score, int64_t id) {
      auto& node = nodes[end];
      const auto sum = score + nodes[begin].score;
      if (!node.begin || sum > node.score) node = {static_cast<float>(sum), begin, id};
    };
    table_.each_prefix(std::string_view(text).substr(begin), [&](size_t length, int64_t id) {
      // User-defined symbols are all but certain.
      const bool certain = kinds_[static_cast<size_t>(id)] == kUserDefined;
      const double score =
          certain ? static_cast<double>(static_cast<float>(length) * highest_score_) - 0.1 : table_.score(id);
      reach(begin + length, score, id);
      has_single_character |= length == first;
    });
    if (!has_single_character) reach(begin + first, unknown_score_, unknown_);
  }

  const auto before = ids.size();
  bool unknown_before = false;  // whether the part that was added last is unknown
  for (size_t end = text.size(); end > 0; end = *nodes[end].begin) {
    const bool unknown = nodes[end].id == unknown_;
    if (unknown && !bytes_.empty())
      for (auto i = end; i-- > *nodes[end].begin;) ids.push_back(bytes_[static_cast<unsigned char>(text[i])]);
    else if (!unknown || !unknown_before)  // neighbouring unknown characters are one
      ids.push_back(nodes[end].id);
    unknown_before = unknown;
  }
  std::reverse(ids.begin() + static_cast<std::ptrdiff_t>(before), ids.end());
}

}  // namespace eav::text
