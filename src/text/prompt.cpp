#include "text/prompt.h"

#include <fmt/format.h>

#include "eav/error.h"

namespace eav {

Prompt tokenize(const Tokenizer& tokenizer, std::string_view text, int64_t length) {
  const auto& stages = tokenizer.stages();
  const auto ending = std::ssize(stages.after);
  if (length <= std::ssize(stages.before) + ending)
    throw Error(fmt::format("a prompt of {} tokens has no room for text", length));

  auto ids = tokenizer.encode(text);
  std::string cut;
  if (std::ssize(ids) > length) {
    const auto first_cut = ids.begin() + (length - ending), last_cut = ids.end() - ending;
    cut = tokenizer.decode({first_cut, last_cut});
    ids.erase(first_cut, last_cut);
  }
  const auto used = std::ssize(ids);
  ids.resize(static_cast<size_t>(length), stages.padding);
  return {at::tensor(ids, at::kLong).unsqueeze(0), (at::arange(length) < used).unsqueeze(0), std::move(cut)};
}

Prompt tokenize(const Lazy<Tokenizer>& tokenizer, std::string_view text, int64_t length, at::Device device) {
  if (device.is_meta()) return {all_tokens(length), at::ones({1, length}, at::kBool), {}};
  auto prompt = tokenize(*tokenizer, text, length);
  prompt.ids = prompt.ids.to(device);
  return prompt;
}

Tensor all_tokens(int64_t length) { return at::empty({1, length}, at::TensorOptions(at::kLong).device(at::kMeta)); }

void warn_of_cut(const std::string& cut, int64_t length, Progress& progress) {
  if (!cut.empty())
    progress.warning(fmt::format("the prompt is longer than the {} tokens that this model takes; this was cut: \"{}\"",
                                 length, cut));
}

}  // namespace eav
