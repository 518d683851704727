// The prompt of HunyuanVideo's image-to-video models, in which tokens of a picture stand before those of the text.
#pragma once
#include <ATen/ATen.h>

#include <string>

#include "text/tokenizer.h"

namespace eav::hunyuan_video {
using at::Tensor;

inline constexpr int64_t kImageTokens = 576;  // of a picture

struct ImagePrompt {
  Tensor ids;       // [1, L]: the instruction, inside it the picture's tokens, the prompt, and what opens an answer
  Tensor kept;      // [n] of 0..L-1: the tokens that the transformer sees, those of the picture first
  std::string cut;  // the end of the prompt that did not fit; empty when all did
};

// The most tokens that such a prompt has.
int64_t image_prompt_tokens();

// Throws eav::Error when the prompt holds a token that stands for the picture.
void check_image_prompt(const std::string& prompt);

// Every `interleave`th of the picture's tokens is kept. `image_token` is the id that stands for one of them. Throws
// eav::Error when the tokenizer, which came from `origin`, is not the one that the model was made for.
ImagePrompt image_prompt(const Tokenizer& tokenizer, const std::string& prompt, int64_t image_token, int64_t interleave,
                         const std::string& origin);

}  // namespace eav::hunyuan_video
