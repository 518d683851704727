// A prompt as text encoders take it: ids of a fixed length.
#pragma once
#include <ATen/ATen.h>

#include <string>
#include <string_view>

#include "eav/progress.h"
#include "text/tokenizer.h"
#include "weights/part.h"

namespace eav {
using at::Tensor;

struct Prompt {
  Tensor ids;       // [1, L] int64
  Tensor mask;      // [1, L] bool, on the CPU: false where the ids are padding
  std::string cut;  // the end of the text that did not fit; empty when all did
};

// Cuts the text's ids to `length` (the ids that end every text stay), or fills them up with padding.
Prompt tokenize(const Tokenizer& tokenizer, std::string_view text, int64_t length);
// For a part on `device`, where the ids are; on the meta device any text is as long as may be.
Prompt tokenize(const Lazy<Tokenizer>& tokenizer, std::string_view text, int64_t length, at::Device device);

// The ids of a prompt in a plan: they have no values. [1, length]
Tensor all_tokens(int64_t length);

// Warns where `cut`, the end of a prompt, did not fit into the `length` tokens that a model takes.
void warn_of_cut(const std::string& cut, int64_t length, Progress& progress);

}  // namespace eav
