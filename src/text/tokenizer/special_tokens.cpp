#include "text/tokenizer/special_tokens.h"

#include <algorithm>
#include <array>

#include "base/json.h"
#include "weights/config.h"

namespace eav::text {
namespace {

using Json = nlohmann::json;

constexpr std::array kRoles{"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

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

std::vector<AddedToken> read_list(const Json& settings, const char* key) {
  std::vector<AddedToken> tokens;
  if (settings.contains(key) && settings.at(key).is_array())
    for (const auto& token : settings.at(key)) tokens.push_back(read_token(token));
  return tokens;
}

}  // namespace

SpecialTokens::SpecialTokens(const std::filesystem::path& dir, std::map<std::string, std::string> defaults)
    : settings_(read_optional(dir / "tokenizer_config.json")), defaults_(std::move(defaults)) {
  for (const auto* key : {"extra_special_tokens", "additional_special_tokens"})
    if (settings_.contains(key) && settings_.at(key).is_array() && (!listed_ || listed_->empty()))
      listed_ = read_list(settings_, key);

  if (settings_.contains("added_tokens_decoder")) {
    for (const auto& [id, token] : settings_.at("added_tokens_decoder").items())
      placed_.insert_or_assign(whole_number(parse_json(id)), read_token(token));
    return;
  }
  const auto map = read_optional(dir / "special_tokens_map.json");
  settings_.update(map);
  mapped_ = read_list(map, "additional_special_tokens");
  const auto added = read_optional(dir / "added_tokens.json");
  for (const auto& [content, id] : added.items())
    placed_.insert_or_assign(whole_number(id), AddedToken{.content = content, .normalized = !is_special(content)});
  const auto whole = read_optional(dir / "tokenizer.json");
  for (const auto& token : whole.value("added_tokens", Json::array()))
    placed_.insert_or_assign(whole_number(token.at("id")), read_token(token));
}

std::optional<AddedToken> SpecialTokens::role(const std::string& name) const {
  AddedToken token;
  if (!settings_.contains(name)) {
    if (const auto found = defaults_.find(name); found != defaults_.end()) token.content = found->second;
  } else if (!settings_.at(name).is_null()) {
    token = read_token(settings_.at(name));
  }
  return token.content.empty() ? std::nullopt : std::optional(token);
}

std::vector<AddedToken> SpecialTokens::all(const std::vector<AddedToken>& additional) const {
  std::vector<AddedToken> tokens;
  for (const auto& [id, token] : placed_) tokens.push_back(token);
  for (const auto* name : kRoles)
    if (const auto token = role(name)) tokens.push_back(*token);
  const auto& rest = listed_ ? *listed_ : additional;
  tokens.insert(tokens.end(), rest.begin(), rest.end());
  return tokens;
}

// Whether the files, not the defaults, name it.
bool SpecialTokens::is_special(const std::string& content) const {
  const auto is_it = [&](const AddedToken& token) { return token.content == content; };
  const auto has_role = [&](const char* name) {
    return settings_.contains(name) && !settings_.at(name).is_null() && is_it(read_token(settings_.at(name)));
  };
  return std::ranges::any_of(kRoles, has_role) || (listed_ && std::ranges::any_of(*listed_, is_it));
}

}  // namespace eav::text
