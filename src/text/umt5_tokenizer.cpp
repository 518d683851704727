#include "text/umt5_tokenizer.h"

#include <fmt/format.h>

#include <memory>
#include <utility>

#include "eav/error.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/tokenizer_json.h"
#include "weights/config.h"

namespace eav {
namespace {

int64_t required_id(const Tokenizer& tokenizer, const std::string& token, const std::string& name) {
  const auto id = tokenizer.id(token);
  if (!id) throw Error(fmt::format("{}: lacks the token \"{}\"", name, token));
  return *id;
}

}  // namespace

Tokenizer open_umt5_tokenizer(const std::filesystem::path& dir) {
  const auto json = dir / "tokenizer.json", sentencepiece = dir / "spiece.model";
  if (std::filesystem::exists(json)) {
    const auto tokenizer = text::read_tokenizer_json(JsonFile(json));
    auto stages = tokenizer.stages();
    stages.padding = required_id(tokenizer, "<pad>", json.string());
    return Tokenizer(std::move(stages));
  }
  if (!std::filesystem::exists(sentencepiece))
    throw Error(fmt::format("{}: has neither tokenizer.json nor spiece.model", dir.string()));
  return open_umt5_tokenizer(text::read_sentencepiece_model(sentencepiece), sentencepiece.string());
}

Tokenizer open_umt5_tokenizer(std::string_view spiece_model, const std::string& name) {
  return open_umt5_tokenizer(text::read_sentencepiece_model(spiece_model, name), name);
}

Tokenizer open_umt5_tokenizer(text::SentencePiece model, const std::string& name) {
  TokenizerStages stages;
  stages.model = std::make_shared<text::SentencePiece>(std::move(model));
  stages.decoder = text::in_order({text::byte_fallback_decoder(), text::metaspace_decoder("▁", /*prepends=*/true)});
  const Tokenizer tokenizer(stages);
  stages.after = {required_id(tokenizer, "</s>", name)};
  stages.padding = required_id(tokenizer, "<pad>", name);
  return Tokenizer(std::move(stages));
}

}  // namespace eav
