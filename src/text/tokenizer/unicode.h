// Unicode as tokenizers need it: UTF-8 code points, character classes, normal forms, what a reader sees as one
// character.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace eav::text {

bool is_utf8(std::string_view text);
// Throws eav::Error where a prompt is not.
void check_utf8(std::string_view prompt);

// Throws eav::Error where a tokenizer's file makes a text longer than any prompt: its stages, each of which may write
// more than it reads, would fill the memory.
void check_length(size_t bytes);

// `bytes` with U+FFFD in place of what is not UTF-8.
std::string repaired_utf8(std::string_view bytes);

// The length in bytes of the code point that starts at `at`. `text` must be UTF-8, here and below.
inline size_t code_point_length(std::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}
inline bool continues_code_point(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }
// Where the code point starts that ends at `end`, which is not 0.
size_t code_point_start(std::string_view text, size_t end);
char32_t code_point(std::string_view text, size_t at);
void append_code_point(std::string& text, char32_t c);

bool is_whitespace(char32_t c);  // Unicode's White_Space
bool is_word(char32_t c);        // what \w matches: letters, marks, digits, connectors, joiners

// Each code point by itself: no rules of a language, no final sigma.
std::string lowercase(std::string_view text);
// By Unicode's full rules, as Python's str.lower and str.upper: a sigma at the end of a word is a final one, ß becomes
// SS.
std::string full_lowercase(std::string_view text);
std::string uppercase(std::string_view text);

// As the tokenizers package has it, by the tables of Unicode 9: later characters neither change nor change places.
enum class NormalForm { C, D, KC, KD };
std::string normalize(std::string_view text, NormalForm form);
// Normal form C by the tables of today.
std::string nfc(std::string_view text);

// The ends, in bytes, of the extended grapheme clusters of `text`, in order.
std::vector<size_t> grapheme_ends(std::string_view text);

}  // namespace eav::text
