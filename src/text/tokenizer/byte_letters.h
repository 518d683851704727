// The printable characters that byte-level tokenizers write bytes as.
#pragma once
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace eav::text {

// Printable Latin-1 characters stand for themselves; the other bytes are written, in order, as U+0100 and on.
class ByteLetters {
 public:
  ByteLetters();

  std::string write(std::string_view bytes) const;
  // The bytes that were written as `letters`; nothing when one of them is no such letter.
  std::optional<std::string> read(std::string_view letters) const;

 private:
  std::array<std::string, 256> letters_;
  std::unordered_map<char32_t, char> bytes_;
};

}  // namespace eav::text
