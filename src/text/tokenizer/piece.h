// A part of a text on its way through a tokenizer.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace eav::text {

struct Piece {
  std::string text;
  bool first = false;         // whether it stands at the start of the whole text
  std::optional<int64_t> id;  // set once the piece is a token
};

}  // namespace eav::text
