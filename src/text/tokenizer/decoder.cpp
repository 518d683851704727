#include "text/tokenizer/decoder.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <utility>

#include "text/tokenizer/byte_letters.h"
#include "text/tokenizer/unicode.h"

namespace eav::text {

Decoder spaces_between() {
  return [](const std::vector<std::string>& tokens) { return std::vector{fmt::format("{}", fmt::join(tokens, " "))}; };
}

Decoder joined() {
  return [](const std::vector<std::string>& tokens) { return std::vector{fmt::format("{}", fmt::join(tokens, ""))}; };
}

Decoder metaspace_decoder(std::string replacement, bool prepends) {
  return [prepends, marks = literal(std::move(replacement))](std::vector<std::string> tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = replace(tokens[i], marks, i == 0 && prepends ? "" : " ");
    return tokens;
  };
}

Decoder byte_level_decoder() {
  return [letters = ByteLetters()](const std::vector<std::string>& tokens) {
    std::string bytes;
    for (const auto& token : tokens) bytes += letters.read(token).value_or(token);
    return std::vector{repaired_utf8(bytes)};
  };
}

Decoder byte_fallback_decoder() {
  return [](const std::vector<std::string>& tokens) {
    std::vector<std::string> result;
    std::string bytes;
    const auto finish = [&] {
      if (!bytes.empty()) result.push_back(repaired_utf8(std::exchange(bytes, {})));
    };
    for (const auto& token : tokens) {
      const bool is_byte = token.size() == 6 && token.starts_with("<0x") && token.ends_with('>') &&
                           token.find_first_not_of("0123456789ABCDEF", 3) == 5;
      if (is_byte) {
        bytes += static_cast<char>(std::stoi(token.substr(3, 2), nullptr, 16));
        continue;
      }
      finish();
      result.push_back(token);
    }
    finish();
    return result;
  };
}

Decoder each(Normalizer rewrite) {
  return [rewrite = std::move(rewrite)](std::vector<std::string> tokens) {
    for (auto& token : tokens) token = rewrite(std::move(token));
    return tokens;
  };
}

Decoder in_order(std::vector<Decoder> decoders) {
  return [decoders = std::move(decoders)](std::vector<std::string> tokens) {
    for (const auto& decoder : decoders) tokens = decoder(std::move(tokens));
    return tokens;
  };
}

}  // namespace eav::text
