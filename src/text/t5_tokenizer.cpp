#include "text/t5_tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "eav/error.h"
#include "text/tokenizer/json.h"
#include "text/tokenizer/sentencepiece.h"
#include "weights/config.h"

namespace eav {
namespace {

using text::AddedToken;
using Json = nlohmann::json;

Json read_optional(const std::filesystem::path& path) {
  return std::filesystem::exists(path) ? JsonFile(path).json() : Json::object();
}

// A special token: a string, or an object with its flags.
AddedToken read_token(const Json& token) {
  if (token.is_string()) return {.content = token.get<std::string>()};
  return {
      .content = token.at("content").get<std::string>(),
      .single_word = token.value("single_word", false),
      .lstrip = token.value("lstrip", false),
      .rstrip = token.value("rstrip", false),
      .normalized = token.value("normalized", !token.value("special", true)),
  };
}

std::vector<AddedToken> read_tokens(const Json& tokens) {
  std::vector<AddedToken> all;
  for (const auto& token : tokens) all.push_back(read_token(token));
  return all;
}

// T5 marks gaps in a text by sentinels. Prompts have none, but they take places in the vocabulary.
std::string sentinel(int64_t i) { return fmt::format("<extra_id_{}>", i); }
int64_t sentinels(const Json& settings) { return settings.value("extra_ids", int64_t{100}); }

bool is_set(const Json& settings, const char* key) { return settings.contains(key) && !settings.at(key).empty(); }

// The special tokens that the files of a folder name. Several generations of such files are in use: a newer one holds all
// in tokenizer_config.json, an older one is spread over special_tokens_map.json and added_tokens.json.
class SpecialTokens {
 public:
  // `symbols` are those that the vocabulary's own file names.
  SpecialTokens(const std::filesystem::path& dir, const std::vector<std::string>& symbols)
      : settings_(read_optional(dir / "tokenizer_config.json")) {
    for (const auto& symbol : symbols) additional_.push_back({.content = symbol});
    for (const auto* key : {"extra_special_tokens", "additional_special_tokens"})
      if (!listed_ || listed_->empty())
        if (settings_.contains(key) && settings_.at(key).is_array()) listed_ = read_tokens(settings_.at(key));

    if (settings_.contains("added_tokens_decoder")) {
      for (const auto& [id, token] : settings_.at("added_tokens_decoder").items())
        placed_.insert_or_assign(Json::parse(id).get<int64_t>(), read_token(token));
      return;
    }
    settings_.update(read_optional(dir / "special_tokens_map.json"));
    if (symbols.empty() && is_set(settings_, "additional_special_tokens"))
      additional_ = read_tokens(settings_.at("additional_special_tokens"));
    const auto added = read_optional(dir / "added_tokens.json");
    for (const auto& [content, id] : added.items())
      placed_.insert_or_assign(id.get<int64_t>(), AddedToken{.content = content, .normalized = !is_special(content)});
  }

  // The token of a role, such as "eos_token".
  std::optional<AddedToken> role(const std::string& name) const {
    if (settings_.contains(name))
      return settings_.at(name).is_null() ? std::nullopt : std::optional(read_token(settings_.at(name)));
    if (name == "eos_token") return AddedToken{.content = "</s>"};
    if (name == "unk_token") return AddedToken{.content = "<unk>"};
    if (name == "pad_token") return AddedToken{.content = "<pad>"};
    return std::nullopt;
  }

  // All of them, in the order in which those outside the vocabulary get their ids.
  std::vector<AddedToken> all() const {
    std::vector<AddedToken> tokens;
    for (const auto& [id, token] : placed_) tokens.push_back(token);
    for (const auto& name : roles())
      if (const auto token = role(name)) tokens.push_back(*token);
    const auto rest = listed_ ? *listed_ : with_sentinels(additional_);
    tokens.insert(tokens.end(), rest.begin(), rest.end());
    return tokens;
  }

 private:
  static std::vector<std::string> roles() {
    return {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};
  }

  bool is_special(const std::string& content) const {
    const auto names = roles();
    const auto is_it = [&](const AddedToken& token) { return token.content == content; };
    return std::ranges::any_of(names, [&](const auto& n) { return is_set(settings_, n.c_str()) && is_it(*role(n)); }) ||
           (listed_ && std::ranges::any_of(*listed_, is_it));
  }

  std::vector<AddedToken> with_sentinels(std::vector<AddedToken> tokens) const {
    const auto is_sentinel = [](const AddedToken& token) { return token.content.find("<extra_id_") != std::string::npos; };
    if (std::ranges::any_of(tokens, is_sentinel)) return tokens;
    for (int64_t i = 0; i < sentinels(settings_); ++i) tokens.push_back({.content = sentinel(i)});
    return tokens;
  }

  Json settings_;
  std::map<int64_t, AddedToken> placed_;           // tokens listed with the ids that they are to have
  std::optional<std::vector<AddedToken>> listed_;  // more tokens; where there is such a list, it says all
  std::vector<AddedToken> additional_;             // what counts without that list
};

text::UnigramParts read_parts(const std::filesystem::path& dir) {
  const auto sentencepiece = dir / "spiece.model", json = dir / "tokenizer.json";
  if (std::filesystem::exists(sentencepiece)) {
    auto parts = text::read_sentencepiece(sentencepiece);
    // The sentinels' ids follow the file's, the last sentinel first; tokenizer.json lists them already.
    const auto settings = read_optional(dir / "tokenizer_config.json");
    for (auto i = sentinels(settings); i-- > 0;) parts.vocabulary.emplace_back(sentinel(i), 0);
    return parts;
  }
  if (std::filesystem::exists(json)) return text::read_unigram_parts(json);
  throw Error(fmt::format("{}: has neither spiece.model nor tokenizer.json", dir.string()));
}

}  // namespace

Tokenizer open_t5_tokenizer(const std::filesystem::path& dir) try {
  constexpr int64_t kUnknown = 2;  // T5 vocabularies begin with <pad>, </s>, <unk>
  const std::string kWordStart = "▁";

  auto parts = read_parts(dir);
  const SpecialTokens special(dir, parts.symbols);
  if (std::ssize(parts.vocabulary) <= kUnknown)
    throw Error(fmt::format("{}: a vocabulary of {} tokens is not T5's", dir.string(), parts.vocabulary.size()));
  TokenizerStages stages;
  stages.model = std::make_shared<text::Unigram>(std::move(parts.vocabulary), kUnknown);
  stages.normalizer = parts.normalizer;
  stages.added_tokens = text::AddedTokens(special.all(), *stages.model, stages.normalizer);
  stages.pre_tokenizer = text::in_order({text::split_at(text::whitespace(), text::Delimiter::removed),
                                         text::metaspace(kWordStart, text::Prepend::always)});
  stages.decoder = text::metaspace_decoder(kWordStart, /*prepends=*/true);
  if (const auto end = special.role("eos_token")) stages.after = {*stages.added_tokens.id(end->content)};
  if (const auto padding = special.role("pad_token")) stages.padding = *stages.added_tokens.id(padding->content);
  return Tokenizer(std::move(stages));
} catch (const Json::exception& error) {
  throw Error(fmt::format("{}: is no valid tokenizer: {}", dir.string(), error.what()));
}

}  // namespace eav
