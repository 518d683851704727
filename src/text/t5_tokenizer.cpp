#include "text/t5_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>

#include "eav/error.h"
#include "text/tokenizer/sentencepiece.h"
#include "text/tokenizer/special_tokens.h"
#include "text/tokenizer/tokenizer_json.h"

namespace eav {
namespace {

using text::AddedToken;

// T5 marks gaps in a text by sentinels. Prompts have none, but they take places in the vocabulary.
std::string sentinel(int64_t i) { return fmt::format("<extra_id_{}>", i); }

// The tokens that count as special beside those with a role: `symbols` of the vocabulary's file, and the sentinels.
std::vector<AddedToken> additional_tokens(const std::vector<std::string>& symbols, const text::SpecialTokens& special,
                                          int64_t sentinels) {
  std::vector<AddedToken> tokens;
  for (const auto& symbol : symbols) tokens.push_back({.content = symbol});
  if (symbols.empty()) tokens = special.mapped();
  const auto is_sentinel = [](const AddedToken& token) {
    return token.content.find("<extra_id_") != std::string::npos;
  };
  if (std::ranges::any_of(tokens, is_sentinel)) return tokens;
  for (int64_t i = 0; i < sentinels; ++i) tokens.push_back({.content = sentinel(i)});
  return tokens;
}

// How many sentinels the vocabulary has.
int64_t count_sentinels(const std::filesystem::path& dir, const nlohmann::json& settings) {
  constexpr uint64_t kMost = 100'000;
  if (!settings.contains("extra_ids")) return 100;
  const auto& count = settings.at("extra_ids");
  if (!count.is_number_unsigned() || count.get<uint64_t>() > kMost)
    throw Error(fmt::format("{}: \"extra_ids\" is no whole number from 0 to {}", dir.string(), kMost));
  return count.get<int64_t>();
}

text::UnigramParts read_parts(const std::filesystem::path& dir, int64_t sentinels) {
  const auto sentencepiece = dir / "spiece.model", json = dir / "tokenizer.json";
  if (std::filesystem::exists(sentencepiece)) {
    auto parts = text::read_sentencepiece(sentencepiece);
    // The sentinels' ids follow the file's, the last sentinel first; tokenizer.json lists them already.
    for (auto i = sentinels; i-- > 0;) parts.vocabulary.emplace_back(sentinel(i), 0);
    return parts;
  }
  if (std::filesystem::exists(json)) return text::read_unigram_parts(JsonFile(json));
  throw Error(fmt::format("{}: has neither spiece.model nor tokenizer.json", dir.string()));
}

// Tokens of roles that files need not name.
const std::map<std::string, std::string> kRoles{{"eos_token", "</s>"}, {"unk_token", "<unk>"}, {"pad_token", "<pad>"}};

Tokenizer tokenizer_of(text::UnigramParts parts, const text::SpecialTokens& special, int64_t sentinels,
                       const std::string& name) {
  constexpr int64_t kUnknown = 2;  // T5 vocabularies begin with <pad>, </s>, <unk>
  const std::string kWordStart = "▁";
  if (std::ssize(parts.vocabulary) <= kUnknown)
    throw Error(fmt::format("{}: a vocabulary of {} tokens is not T5's", name, parts.vocabulary.size()));

  TokenizerStages stages;
  stages.model = std::make_shared<text::Unigram>(std::move(parts.vocabulary), kUnknown);
  stages.normalizer = parts.normalizer;
  stages.added_tokens = text::AddedTokens(special.all(additional_tokens(parts.symbols, special, sentinels)),
                                          *stages.model, stages.normalizer);
  stages.pre_tokenizer = text::in_order({text::split_at(text::whitespace(), text::Delimiter::removed),
                                         text::metaspace(kWordStart, text::Prepend::always)});
  stages.decoder = text::metaspace_decoder(kWordStart, /*prepends=*/true);
  if (const auto end = special.role("eos_token")) stages.after = {*stages.added_tokens.id(end->content)};
  if (const auto padding = special.role("pad_token")) stages.padding = *stages.added_tokens.id(padding->content);
  return Tokenizer(std::move(stages));
}

}  // namespace

Tokenizer open_t5_tokenizer(const std::filesystem::path& dir) try {
  const text::SpecialTokens special(dir, kRoles);
  const auto sentinels = count_sentinels(dir, special.settings());
  return tokenizer_of(read_parts(dir, sentinels), special, sentinels, dir.string());
} catch (const nlohmann::json::exception& error) {
  throw Error(fmt::format("{}: is no valid tokenizer: {}", dir.string(), error.what()));
}

Tokenizer open_t5_tokenizer(text::UnigramParts parts, const std::string& name) {
  return tokenizer_of(std::move(parts), text::SpecialTokens(kRoles), /*sentinels=*/0, name);
}

}  // namespace eav
