// The prompt of HunyuanVideo's text-to-video models: what LLaMA is instructed to do with it.
#pragma once
#include <ATen/ATen.h>

#include <string>

#include "text/tokenizer.h"

namespace eav::hunyuan_video {
using at::Tensor;

inline constexpr int64_t kPromptTokens = 256;      // the most that are left of a prompt
inline constexpr int64_t kInstructionTokens = 95;  // before it, whose embeddings are cut off
inline constexpr int64_t kSkippedLlamaLayers = 2;  // the last ones: the prompt is taken from a layer before them

struct TextPrompt {
  Tensor ids;       // [1, L]: the instruction and the prompt
  std::string cut;  // the end of the prompt that did not fit; empty when all did
};

// Throws eav::Error when the tokenizer, which came from `origin`, is not the one that the model was made for.
TextPrompt text_prompt(const Tokenizer& tokenizer, const std::string& prompt, const std::string& origin);

}  // namespace eav::hunyuan_video
