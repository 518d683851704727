#include "text/clip_tokenizer.h"

#include <fmt/format.h>

#include <sstream>

#include "base/regular_file.h"
#include "eav/error.h"
#include "text/tokenizer/bpe.h"
#include "text/tokenizer/special_tokens.h"
#include "text/tokenizer/tokenizer_json.h"
#include "weights/config.h"

namespace eav {
namespace {

constexpr const char* kWordEnd = "</w>";

text::Bpe::Merges read_merges(const std::filesystem::path& path) {
  std::istringstream file(read_file(path));
  text::Bpe::Merges merges;
  for (std::string line; std::getline(file, line);)
    if (!line.starts_with("#version")) merges.push_back(text::parse_merge(line));
  return merges;
}

std::shared_ptr<const text::Model> read_model(const std::filesystem::path& dir, const std::string& unknown) {
  const auto json = dir / "tokenizer.json", vocabulary = dir / "vocab.json", merges = dir / "merges.txt";
  if (std::filesystem::exists(json)) return text::read_tokenizer_json(JsonFile(json)).stages().model;
  if (!std::filesystem::exists(vocabulary))
    throw Error(fmt::format("{}: has neither tokenizer.json nor vocab.json", dir.string()));
  const JsonFile ids(vocabulary);
  try {
    return std::make_shared<text::Bpe>(text::read_bpe_vocabulary(ids.json()), read_merges(merges),
                                       text::BpeOptions{.unknown = unknown, .end_of_word_suffix = kWordEnd});
  } catch (const Error& error) {
    throw Error(fmt::format("{}: {}", merges.string(), error.what()));
  }
}

}  // namespace

Tokenizer open_clip_tokenizer(const std::filesystem::path& dir) try {
  const auto* const kStart = "<|startoftext|>";
  const auto* const kEnd = "<|endoftext|>";
  const auto* const kWords =
      R"(<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+)";

  const text::SpecialTokens special(
      dir, {{"bos_token", kStart}, {"eos_token", kEnd}, {"unk_token", kEnd}, {"pad_token", kEnd}});
  const auto unknown = special.role("unk_token");

  TokenizerStages stages;
  stages.model = read_model(dir, unknown ? unknown->content : "");
  stages.normalizer = text::in_order(
      {text::normal_form(text::NormalForm::C), text::replaced(text::regex(R"(\s+)"), " "), text::lowercased()});
  stages.added_tokens = text::AddedTokens(special.all({}), *stages.model, stages.normalizer);
  stages.pre_tokenizer = text::in_order({text::split_at(text::inverse(text::regex(kWords)), text::Delimiter::removed),
                                         text::byte_level(/*prepend_space=*/false, /*split_words=*/true)});
  stages.decoder = text::in_order({text::byte_level_decoder(), text::each(text::replaced(text::literal(kWordEnd), " ")),
                                   text::each(text::stripped(/*left=*/true, /*right=*/true))});
  if (const auto start = special.role("bos_token")) stages.before = {*stages.added_tokens.id(start->content)};
  if (const auto end = special.role("eos_token")) stages.after = {*stages.added_tokens.id(end->content)};
  if (const auto padding = special.role("pad_token")) stages.padding = *stages.added_tokens.id(padding->content);
  return Tokenizer(std::move(stages));
} catch (const nlohmann::json::exception& error) {
  throw Error(fmt::format("{}: is no valid tokenizer: {}", dir.string(), error.what()));
}

}  // namespace eav
