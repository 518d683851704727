// Text of anywhere (names of files, records, tensors) on its way to a terminal.
#pragma once
#include <fmt/format.h>

#include <string>
#include <string_view>
#include <type_traits>

namespace eav {

// The text with what is no UTF-8, controls a terminal or turns the direction of writing spelled out, such as "\x1b" and
// "\u202e": it stays one line. Ordinary text of any language is kept.
std::string printable(std::string_view text);

// Writes to stdout. That it cannot be written to is nothing to stop for: flush_stdout() tells at the end.
void print_lines(std::string_view text);

// Prints to stdout as fmt::print does, with each text among the arguments made printable.
template <class... Args>
void print_text(std::string_view format, const Args&... args) {
  [[maybe_unused]] const auto safe = []<class T>(const T& value) {
    if constexpr (std::is_convertible_v<T, std::string_view>)
      return printable(value);
    else
      return value;
  };
  print_lines(fmt::format(fmt::runtime(format), safe(args)...));
}

// Writes to stderr what it is given, if somebody reads it.
void print_to_stderr(const std::string& text) noexcept;

// False where something of what was printed to stdout could not be written, though somebody is there to read it.
bool flush_stdout() noexcept;

}  // namespace eav
