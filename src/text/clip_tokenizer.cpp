#include "text/clip_tokenizer.h"

#include <fmt/format.h>

#include "eav/error.h"
#include "text/tokenizer/json.h"
#include "text/tokenizer/special_tokens.h"

namespace eav {
namespace {

text::BpeParts read_parts(const std::filesystem::path& dir) {
  const auto vocabulary = dir / "vocab.json", merges = dir / "merges.txt", json = dir / "tokenizer.json";
  if (std::filesystem::exists(vocabulary) && std::filesystem::exists(merges))
    return text::read_bpe_files(vocabulary, merges);
  if (std::filesystem::exists(json)) return text::read_bpe_parts(json);
  throw Error(fmt::format("{}: has neither vocab.json with merges.txt nor tokenizer.json", dir.string()));
}

}  // namespace

Tokenizer open_clip_tokenizer(const std::filesystem::path& dir) try {
  const std::string kStart = "<|startoftext|>", kEnd = "<|endoftext|>", kWordEnd = "</w>";
  const auto* const kWords =
      R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

  const text::SpecialTokens special(
      dir, {{"bos_token", kStart}, {"eos_token", kEnd}, {"unk_token", kEnd}, {"pad_token", kEnd}});
  const auto content = [&](const char* role) {
    const auto token = special.role(role);
    if (!token) throw Error(fmt::format("{}: its files set no {}", dir.string(), role));
    return token->content;
  };
  auto parts = read_parts(dir);
  TokenizerStages stages;
  stages.model =
      std::make_shared<text::Bpe>(std::move(parts.vocabulary), parts.merges,
                                  text::BpeOptions{.unknown = content("unk_token"), .end_of_word_suffix = kWordEnd});
  stages.normalizer = text::in_order(
      {text::normal_form(text::NormalForm::C), text::replaced(text::regex(R"(\s+)"), " "), text::lowercased()});
  stages.added_tokens = text::AddedTokens(special.all(special.mapped()), *stages.model, stages.normalizer);
  stages.pre_tokenizer = text::in_order({text::split_at(text::inverse(text::regex(kWords)), text::Delimiter::removed),
                                         text::byte_level(/*prepend_space=*/false, /*split_words=*/true)});
  stages.decoder = text::in_order({text::byte_level_decoder(), text::each(text::replaced(text::literal(kWordEnd), " ")),
                                   text::each(text::stripped(/*left=*/true, /*right=*/true))});
  stages.before = {*stages.added_tokens.id(content("bos_token"))};
  stages.after = {*stages.added_tokens.id(content("eos_token"))};
  stages.padding = *stages.added_tokens.id(content("pad_token"));
  return Tokenizer(std::move(stages));
} catch (const nlohmann::json::exception& error) {
  throw Error(fmt::format("{}: is no valid tokenizer: {}", dir.string(), error.what()));
}

}  // namespace eav
