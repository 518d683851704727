// The special tokens that the files of a tokenizer folder name.
#pragma once
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer/added_tokens.h"

namespace eav::text {

// Several generations of files are in use: a newer one holds all in tokenizer_config.json, an older one is spread over
// special_tokens_map.json, added_tokens.json and tokenizer.json.
class SpecialTokens {
 public:
  // `defaults` are the tokens of roles that files need not name, such as {"eos_token", "</s>"}. Throws eav::Error, or
  // the JSON library's exceptions where a file is malformed.
  SpecialTokens(const std::filesystem::path& dir, std::map<std::string, std::string> defaults);
  // Of no files: the defaults alone.
  explicit SpecialTokens(std::map<std::string, std::string> defaults)
      : settings_(nlohmann::json::object()), defaults_(std::move(defaults)) {}

  // The token of a role; none where it has none, or an empty one.
  std::optional<AddedToken> role(const std::string& name) const;
  // All of them, in the order in which those outside the vocabulary get their ids. `additional` counts unless the files
  // list additional tokens themselves.
  std::vector<AddedToken> all(const std::vector<AddedToken>& additional) const;

  // The additional tokens of special_tokens_map.json, which count less than a list in tokenizer_config.json.
  const std::vector<AddedToken>& mapped() const { return mapped_; }
  const nlohmann::json& settings() const { return settings_; }

 private:
  bool is_special(const std::string& content) const;

  nlohmann::json settings_;
  std::map<std::string, std::string> defaults_;
  std::map<int64_t, AddedToken> placed_;           // tokens with the ids that they are to have
  std::optional<std::vector<AddedToken>> listed_;  // additional tokens
  std::vector<AddedToken> mapped_;
};

}  // namespace eav::text
