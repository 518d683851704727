#include "text/tokenizer/pre_tokenizer.h"

#include <utility>

#include "text/tokenizer/byte_letters.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

PreTokenizer one_word() {
  return [](Piece piece) { return std::vector{std::move(piece)}; };
}

PreTokenizer split_at(Pattern pattern, Delimiter delimiter) {
  return [pattern = std::move(pattern), delimiter](const Piece& piece) {
    std::vector<Piece> words;
    for (const auto& part : split(pattern(piece.text), delimiter))
      words.push_back({piece.text.substr(part.begin, part.end - part.begin), piece.first && part.begin == 0, {}});
    return words;
  };
}

PreTokenizer metaspace(const std::string& replacement, Prepend prepend, bool split) {
  const auto space = literal(" ");
  const auto cut = split ? split_at(literal(replacement), Delimiter::merged_with_next) : one_word();
  return [=](Piece piece) {
    piece.text = replace(piece.text, space, replacement);
    const bool prepends = prepend == Prepend::always || (prepend == Prepend::first && piece.first);
    if (prepends && !piece.text.starts_with(replacement)) piece.text = replacement + piece.text;
    return cut(std::move(piece));
  };
}

PreTokenizer byte_level(bool prepend_space, bool split_words) {
  // GPT-2's words: contractions, then letters, digits or other characters with the space before them, then white space.
  const auto* const kWords = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
  const auto cut = split_words ? split_at(regex(kWords), Delimiter::isolated) : one_word();
  return [=, letters = ByteLetters()](Piece piece) {
    if (prepend_space && !piece.text.starts_with(' ')) piece.text = ' ' + piece.text;
    check_length(2 * piece.text.size());
    auto words = cut(std::move(piece));
    for (auto& word : words) word.text = letters.write(word.text);
    return words;
  };
}

PreTokenizer in_order(std::vector<PreTokenizer> pre_tokenizers) {
  return [pre_tokenizers = std::move(pre_tokenizers)](Piece piece) {
    std::vector<Piece> pieces{std::move(piece)};
    for (const auto& pre_tokenizer : pre_tokenizers) {
      std::vector<Piece> cut;
      size_t bytes = 0;
      for (auto& part : pieces)
        for (auto& word : pre_tokenizer(std::move(part)))
          if (!word.text.empty()) {
            check_length(bytes += word.text.size());
            cut.push_back(std::move(word));
          }
      pieces = std::move(cut);
    }
    return pieces;
  };
}

}  // namespace eav::text
