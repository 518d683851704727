#include "printable.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <utility>

namespace eav {
namespace {

// The character that begins the text and its length in bytes; length 0 where no UTF-8 begins there.
std::pair<uint32_t, size_t> first_character(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  if (byte(0) < 0x80) return {byte(0), 1};
  const size_t length = byte(0) >= 0xF0 ? 4 : byte(0) >= 0xE0 ? 3 : 2;
  if (byte(0) < 0xC2 || byte(0) > 0xF4 || length > text.size()) return {0, 0};
  uint32_t code = byte(0) & (0x7F >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return {0, 0};
    code = code << 6 | (byte(i) & 0x3F);
  }
  constexpr std::array<uint32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xD800 && code < 0xE000;
  return {code, code < kLeast[length] || is_surrogate || code > 0x10FFFF ? 0 : length};
}

// Controls, the marks that change the direction of writing, and those that begin a line.
bool is_harmful(uint32_t code) {
  const auto within = [&](uint32_t first, uint32_t last) { return first <= code && code <= last; };
  return within(0, 0x1F) || within(0x7F, 0x9F) || code == 0x61C || within(0x200E, 0x200F) || within(0x2028, 0x202E) ||
         within(0x2066, 0x2069) || code == 0xFEFF;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    const auto [code, length] = first_character(text);
    if (length == 0 || (code < 0x80 && is_harmful(code)))
      result += fmt::format("\\x{:02x}", static_cast<unsigned char>(text[0]));
    else if (is_harmful(code))
      result += fmt::format("\\u{:04x}", code);
    else
      result += text.substr(0, length);
    text.remove_prefix(std::max<size_t>(length, 1));
  }
  return result;
}

void print_lines(std::string_view text) { std::fwrite(text.data(), 1, text.size(), stdout); }

void print_to_stderr(const std::string& text) noexcept {
  std::fputs(text.c_str(), stderr);
  std::fflush(stderr);
}

bool flush_stdout() noexcept {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return true;
  pollfd out{STDOUT_FILENO, POLLOUT, 0};
  return ::poll(&out, 1, 0) == 1 && (out.revents & (POLLERR | POLLNVAL)) != 0;
}

}  // namespace eav
