// A Unigram model as SentencePiece itself runs it (Kudo and Richardson, arXiv 1808.06226): white space, symbols of its
// user's, and bytes for characters that it does not know.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer/model.h"
#include "text/tokenizer/piece_table.h"

namespace eav::text {

class SentencePiece final : public Model {
 public:
  enum Kind : uint64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };
  struct Piece {
    std::string text;
    float score;
    Kind kind;
  };
  struct Spaces {
    bool add_dummy_prefix = true;  // a text begins with one
    bool remove_extra = true;      // around a text, and all but one of several
    bool escape = true;            // they are written as "▁"
    bool as_suffix = false;        // the one that begins a text ends it instead
  };

  // One piece is of the kind kUnknown; with `byte_fallback`, 256 are of the kind kByte.
  SentencePiece(std::vector<Piece> pieces, bool byte_fallback, const Spaces& spaces);

  // Of a whole text.
  void tokenize(std::string_view text, std::vector<int64_t>& ids) const override;
  std::optional<int64_t> id(std::string_view token) const override;
  std::optional<std::string> token(int64_t id) const override { return table_.token(id); }
  int64_t size() const override { return table_.size(); }

 private:
  std::string normalized(std::string_view text) const;

  std::vector<Kind> kinds_;
  PieceTable table_;            // texts are made of normal and user-defined pieces
  PieceTable user_defined_;     // these alone
  std::vector<int64_t> bytes_;  // ids of the 256, or none
  int64_t unknown_ = 0;
  float unknown_score_, highest_score_;
  Spaces spaces_;
};

}  // namespace eav::text
