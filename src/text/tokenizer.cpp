#include "text/tokenizer.h"

#include "text/tokenizer/unicode.h"

namespace eav {

std::vector<int64_t> Tokenizer::encode(std::string_view text) const {
  text::check_utf8(text);
  auto ids = stages_.before;
  size_t bytes = 0;
  for (auto& piece : stages_.added_tokens.split(text, stages_.normalizer)) {
    if (piece.id) {
      ids.push_back(*piece.id);
      continue;
    }
    for (const auto& word : stages_.pre_tokenizer(std::move(piece)))
      if (!word.text.empty()) {
        text::check_length(bytes += word.text.size());
        stages_.model->tokenize(word.text, ids);
      }
  }
  ids.insert(ids.end(), stages_.after.begin(), stages_.after.end());
  return ids;
}

std::string Tokenizer::decode(std::span<const int64_t> ids) const {
  std::vector<std::string> tokens;
  for (const auto id : ids) {
    auto token = stages_.added_tokens.content(id);
    if (!token) token = stages_.model->token(id);
    if (token) tokens.push_back(std::move(*token));
  }
  std::string text;
  for (const auto& part : stages_.decoder(std::move(tokens))) text += part;
  return text;
}

std::optional<int64_t> Tokenizer::id(const std::string& token) const {
  const auto added = stages_.added_tokens.id(token);
  return added ? added : stages_.model->id(token);
}

}  // namespace eav
