#include "models/hunyuan_video/text_prompt.h"

#include <fmt/format.h>

#include "eav/error.h"
#include "text/prompt.h"

namespace eav::hunyuan_video {
namespace {

// The LLaMA was instructed like this when the model was trained; the prompt stands in the middle.
constexpr const char* kBeforePrompt =
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following aspects: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\n";
constexpr const char* kAfterPrompt = "<|eot_id|>";

}  // namespace

TextPrompt text_prompt(const Tokenizer& tokenizer, const std::string& prompt, const std::string& origin) {
  const auto tokens = tokenize(tokenizer, kBeforePrompt + prompt + kAfterPrompt, kInstructionTokens + kPromptTokens);
  auto cut = tokens.cut;
  if (cut.ends_with(kAfterPrompt)) cut.resize(cut.size() - std::string_view(kAfterPrompt).size());
  // Padding comes last and is never attended to: it is left out.
  const auto count = tokens.mask.sum().item<int64_t>();
  if (count <= kInstructionTokens)
    throw Error(
        fmt::format("{}: it makes {} tokens of the instruction and the prompt, of which the first {} are the "
                    "instruction: it is not the tokenizer that this model was made for",
                    origin, count, kInstructionTokens));
  return {tokens.ids.slice(1, 0, count), std::move(cut)};
}

}  // namespace eav::hunyuan_video
