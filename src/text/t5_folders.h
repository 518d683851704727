// Finds a T5 encoder and its tokenizer in a folder that a user names.
#pragma once
#include <filesystem>

namespace eav {

struct T5Folders {
  std::filesystem::path encoder, tokenizer;

  // `dir` holds text_encoder/ and tokenizer/, or is the encoder's folder (with config.json), whose tokenizer lies in
  // it, in its tokenizer/, or in tokenizer/ beside it. Throws eav::Error when none of these is there.
  static T5Folders find(const std::filesystem::path& dir);
};

}  // namespace eav
