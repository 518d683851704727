#include "terminal.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "options.h"
#include "printable.h"

namespace eav {
namespace {

size_t terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

// "█████▌   " filled to `fraction`.
std::string bar(double fraction, size_t cells) {
  static constexpr const char* kEighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const auto eighths = static_cast<size_t>(std::lround(fraction * static_cast<double>(8 * cells)));
  std::string text;
  for (size_t i = 0; i < eighths / 8; ++i) text += "█";
  text += kEighths[eighths % 8];
  return fmt::format("{}{:{}}", text, "", cells - (eighths + 7) / 8);
}

}  // namespace

std::string human_seconds(double seconds) {
  if (seconds < 0.0995) return fmt::format("{:.0f} ms", 1000 * seconds);
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = std::llround(seconds);
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string with_flags(const std::string& text) {
  std::string result;
  for (size_t at = 0; at < text.size();) {
    const auto begin = text.find('`', at), end = begin == std::string::npos ? begin : text.find('`', begin + 1);
    const auto name = end == std::string::npos ? "" : text.substr(begin + 1, end - begin - 1);
    const bool is_option = !name.empty() && name[0] > '9' && std::ranges::all_of(name, [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    });
    result += text.substr(at, (is_option ? begin : begin == std::string::npos ? begin : begin + 1) - at);
    if (is_option) result += flag_of(name);
    at = is_option ? end + 1 : begin == std::string::npos ? text.size() : begin + 1;
  }
  return result;
}

void print_error(const std::string& message) {
  auto line = with_flags(message);
  std::ranges::replace(line, '\n', ' ');
  print_to_stderr(fmt::format("eav: {}\n", printable(line)));
}

TerminalProgress::TerminalProgress(Interrupt& interrupt)
    : interrupt_(interrupt), watched_(isatty(STDERR_FILENO) == 1), start_(std::chrono::steady_clock::now()) {}

void TerminalProgress::phase(std::string_view name) {
  interrupt_.set_writing(name == "write");
  phase_ = fmt::format("{}{}", label_, name);
  start_ = std::chrono::steady_clock::now();
  before_ = -1;
  watched_ ? draw(0, 0) : line(phase_);
}

void TerminalProgress::step(int64_t done, int64_t total) {
  if (before_ < 0) before_ = std::max<int64_t>(done - 1, 0);
  if (watched_) return draw(done, total);
  if (done * 10 / total == (done - 1) * 10 / total) return;  // ten lines a phase
  line(state(done, total));
}

std::string TerminalProgress::state(int64_t done, int64_t total) const {
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  if (done == total) return fmt::format("{} {}/{} in {}", phase_, done, total, human_seconds(elapsed.count()));
  const double each = elapsed.count() / static_cast<double>(done - before_);
  return fmt::format("{} {}/{}, {} each, {} left", phase_, done, total, human_seconds(each),
                     human_seconds(each * static_cast<double>(total - done)));
}

void TerminalProgress::draw(int64_t done, int64_t total) {
  std::string text = phase_, filled;
  if (total > 0) {
    text = state(done, total);
    const size_t width = terminal_width();
    if (text.size() + 12 < width)
      filled = " " + bar(static_cast<double>(done) / static_cast<double>(total),
                         std::min<size_t>(40, width - text.size() - 2));
    else
      text = text.substr(0, width - 1);
  }
  print_to_stderr(fmt::format("\r\x1b[K{}{}", text, filled));
  drawn_ = true;
}

void TerminalProgress::clear() noexcept {
  if (drawn_) print_to_stderr("\r\x1b[K");
  drawn_ = false;
}

void TerminalProgress::line(const std::string& text) {
  clear();
  print_to_stderr(printable(text) + "\n");
}

void TerminalProgress::warning(std::string_view message) {
  clear();
  print_error(fmt::format("warning: {}", message));
}

}  // namespace eav
