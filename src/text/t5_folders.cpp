#include "text/t5_folders.h"

#include <fmt/format.h>

#include "eav/error.h"

namespace eav {
namespace {

bool holds_tokenizer(const std::filesystem::path& dir) {
  return std::filesystem::exists(dir / "spiece.model") || std::filesystem::exists(dir / "tokenizer.json");
}

// Throws where the weights are pickled alone, as those of the first releases are.
void check_safetensors(const std::filesystem::path& encoder) {
  bool pickled = false;
  for (const auto& entry : std::filesystem::directory_iterator(encoder)) {
    if (entry.path().extension() == ".safetensors") return;
    pickled = pickled || entry.path().extension() == ".bin";
  }
  if (pickled)
    throw Error(fmt::format(
        "{0}: has its weights as .bin files alone; convert them with: python -c \"from transformers import "
        "T5EncoderModel; T5EncoderModel.from_pretrained('{0}', torch_dtype='auto').save_pretrained('{0}')\"",
        encoder.string()));
}

}  // namespace

T5Folders T5Folders::find(const std::filesystem::path& dir) {
  if (!std::filesystem::is_directory(dir))
    throw Error(fmt::format("{}: is no folder; a text encoder is one, with config.json, the weights and a tokenizer",
                            dir.string()));
  const bool whole = std::filesystem::exists(dir / "text_encoder" / "config.json");
  const auto encoder = whole ? dir / "text_encoder" : dir;
  if (!std::filesystem::exists(encoder / "config.json"))
    throw Error(fmt::format("{}: holds no text encoder: it has neither config.json nor text_encoder/config.json",
                            dir.string()));
  check_safetensors(encoder);
  const auto beside = std::filesystem::absolute(encoder / "").lexically_normal().parent_path().parent_path();
  for (const auto& tokenizer : {encoder, encoder / "tokenizer", beside / "tokenizer"})
    if (holds_tokenizer(tokenizer)) return {encoder, tokenizer};
  throw Error(fmt::format("{}: has no tokenizer: no spiece.model or tokenizer.json in it, in {} or in {}",
                          encoder.string(), (encoder / "tokenizer").string(), (beside / "tokenizer").string()));
}

}  // namespace eav
