#include "models/hunyuan_video/image_prompt.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "eav/error.h"
#include "text/prompt.h"

namespace eav::hunyuan_video {
namespace {

// LLaVA was instructed like this when the model was trained.
constexpr const char* kImage = "<image>";
constexpr const char* kBeforeImagePrompt =
    "<|start_header_id|>system<|end_header_id|>\n\n<image>\nDescribe the video by detailing the following aspects "
    "according to the reference image: "
    "1. The main content and theme of the video."
    "2. The color, shape, size, texture, quantity, text, and spatial relationships of the objects."
    "3. Actions, events, behaviors temporal relationships, physical movement changes of the objects."
    "4. background environment, light, style and atmosphere."
    "5. camera angles, movements, and transitions used in the video:<|eot_id|>\n\n"
    "<|start_header_id|>user<|end_header_id|>\n\n";
constexpr std::string_view kAfterImagePrompt = "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n";
constexpr const char* kEndOfHeader = "<|end_header_id|>";
constexpr int64_t kImageInstructionTokens = 103;  // the picture counts as one
constexpr int64_t kImagePlace = 5;                // of its one token
constexpr int64_t kImagePromptTokens = 256;       // the most of a prompt, and of what follows it
constexpr int64_t kAnswerTokens = 4;              // that open an answer, up to the end of its header: they are not kept

std::string without_answer(std::string cut) {
  if (kAfterImagePrompt.ends_with(cut)) return {};
  if (cut.ends_with(kAfterImagePrompt)) cut.resize(cut.size() - kAfterImagePrompt.size());
  return cut;
}

// Where the tokens that open the answer end: behind the last header; nothing where that one was cut off.
std::optional<int64_t> answer_end(std::span<const int64_t> ids, int64_t end_of_header, const std::string& origin) {
  constexpr int64_t kHeaders = 3;  // of system, user and answer
  std::vector<int64_t> ends;
  for (size_t i = 0; i < ids.size(); ++i)
    if (ids[i] == end_of_header) ends.push_back(static_cast<int64_t>(i));
  if (ends.empty()) throw Error(fmt::format("{}: it makes no token of \"{}\"", origin, kEndOfHeader));
  return std::ssize(ends) + 1 == kHeaders ? std::nullopt : std::optional(ends.back() + 1);
}

}  // namespace

int64_t image_prompt_tokens() { return kImageInstructionTokens + kImagePromptTokens + kImageTokens - 1; }

void check_image_prompt(const std::string& prompt) {
  if (prompt.find(kImage) != std::string::npos)
    throw Error(fmt::format("the prompt holds \"{}\", which stands for the picture alone: leave it out", kImage));
}

ImagePrompt image_prompt(const Tokenizer& tokenizer, const std::string& prompt, int64_t image_token, int64_t interleave,
                         const std::string& origin) {
  const auto tokens = tokenize(tokenizer, kBeforeImagePrompt + prompt + std::string(kAfterImagePrompt),
                               kImageInstructionTokens + kImagePromptTokens);
  const auto count = tokens.mask.sum().item<int64_t>();  // padding comes last and is never attended to: it is left out
  const std::span<const int64_t> ids(tokens.ids.const_data_ptr<int64_t>(), static_cast<size_t>(count));
  const auto place = std::ranges::find(ids, image_token) - ids.begin();
  if (place != kImagePlace)
    throw Error(
        fmt::format("{}: \"{}\", the picture's place in the instruction, is token {}, expected {} with the id {} "
                    "of \"image_token_index\": it is not the tokenizer that this model was made for",
                    origin, kImage, place < count ? std::to_string(place) : "missing", kImagePlace, image_token));
  if (count <= kImageInstructionTokens)
    throw Error(
        fmt::format("{}: it makes {} tokens of the instruction and the prompt, of which the first {} are the "
                    "instruction: it is not the tokenizer that this model was made for",
                    origin, count, kImageInstructionTokens));

  std::vector<int64_t> widened(ids.begin(), ids.begin() + kImagePlace);
  widened.insert(widened.end(), kImageTokens, image_token);
  widened.insert(widened.end(), ids.begin() + kImagePlace + 1, ids.end());

  std::vector<int64_t> kept;
  for (int64_t i = 0; i < kImageTokens; i += interleave) kept.push_back(kImagePlace + i);
  // Without the answer's header, as many tokens at the end count as the answer's, whatever they are.
  const auto found = answer_end(ids, tokenizer.id(kEndOfHeader).value_or(-1), origin);
  const auto answer = found.value_or(kImageInstructionTokens + kImagePromptTokens);
  std::vector<int64_t> dropped;
  for (auto i = kImageInstructionTokens; i < count; ++i)
    if (i < answer - kAnswerTokens || i >= answer)
      kept.push_back(i + kImageTokens - 1);
    else if (!found)
      dropped.push_back(ids[static_cast<size_t>(i)]);
  return {at::tensor(widened, at::kLong).unsqueeze(0), at::tensor(kept, at::kLong),
          without_answer(tokenizer.decode(dropped) + tokens.cut)};
}

}  // namespace eav::hunyuan_video
