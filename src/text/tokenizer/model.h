// The model of a tokenizer: its vocabulary, and how it cuts a word into the vocabulary's tokens.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace eav::text {

class Model {
 public:
  virtual ~Model() = default;
  // Appends the ids of a word's tokens. `word` is not empty.
  virtual void tokenize(std::string_view word, std::vector<int64_t>& ids) const = 0;
  virtual std::optional<int64_t> id(std::string_view token) const = 0;
  virtual std::optional<std::string> token(int64_t id) const = 0;
  virtual int64_t size() const = 0;
};

}  // namespace eav::text
