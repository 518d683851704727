#include "text/tokenizer/byte_letters.h"

#include "text/tokenizer/unicode.h"

namespace eav::text {

ByteLetters::ByteLetters() {
  const auto is_printable = [](char32_t c) {
    return (c >= U'!' && c <= U'~') || (c >= 0xA1 && c <= 0xAC) || (c >= 0xAE && c <= 0xFF);
  };
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < letters_.size(); ++byte) {
    const auto letter = is_printable(byte) ? byte : next++;
    append_code_point(letters_[byte], letter);
    bytes_[letter] = static_cast<char>(byte);
  }
}

std::string ByteLetters::write(std::string_view bytes) const {
  std::string letters;
  for (const unsigned char byte : bytes) letters += letters_[byte];
  return letters;
}

std::optional<std::string> ByteLetters::read(std::string_view letters) const {
  std::string bytes;
  for (size_t i = 0; i < letters.size(); i += code_point_length(letters, i)) {
    const auto found = bytes_.find(code_point(letters, i));
    if (found == bytes_.end()) return std::nullopt;
    bytes += found->second;
  }
  return bytes;
}

}  // namespace eav::text
