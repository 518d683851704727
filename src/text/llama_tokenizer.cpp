#include "text/llama_tokenizer.h"

#include <fmt/format.h>

#include "eav/error.h"
#include "text/tokenizer/special_tokens.h"
#include "text/tokenizer/tokenizer_json.h"

namespace eav {

Tokenizer open_llama_tokenizer(const std::filesystem::path& dir) try {
  const text::SpecialTokens special(dir, {});
  // Files that do not say where padding goes are taken at their best: the model needs it behind the prompt.
  if (const auto side = special.settings().value("padding_side", "right"); side != "right")
    throw Error(fmt::format("{}: padding goes on the {}; expected \"padding_side\": \"right\"",
                            (dir / "tokenizer_config.json").string(), side));

  const auto path = dir / "tokenizer.json";
  const auto tokenizer = text::read_tokenizer_json(JsonFile(path));
  auto stages = tokenizer.stages();
  if (const auto padding = special.role("pad_token")) {
    const auto id = tokenizer.id(padding->content);
    if (!id) throw Error(fmt::format("{}: lacks the padding token \"{}\"", path.string(), padding->content));
    stages.padding = *id;
  }
  return Tokenizer(std::move(stages));
} catch (const nlohmann::json::exception& error) {
  throw Error(fmt::format("{}: is no valid tokenizer: {}", dir.string(), error.what()));
}

}  // namespace eav
