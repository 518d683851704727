#include "bus_error.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace eav {
namespace {

void print(std::string_view text) {
  if (::write(STDERR_FILENO, text.data(), text.size()) < 0) return;  // nobody is left to be told
}

// A line of /proc/self/maps: "7f01-7f02 rw-p 00000000 08:01 1234   /path". Its path where `address` lies in it.
std::string_view path_at(std::string_view line, uintptr_t address) {
  std::array<uintptr_t, 2> ends{};
  size_t at = 0;
  for (auto& end : ends) {
    for (; at < line.size() && line[at] != '-' && line[at] != ' '; ++at)
      end = end * 16 + static_cast<uintptr_t>(line[at] <= '9' ? line[at] - '0' : line[at] - 'a' + 10);
    ++at;
  }
  const auto path = line.find('/');
  return address >= ends[0] && address < ends[1] && path != std::string_view::npos ? line.substr(path)
                                                                                   : std::string_view();
}

// Only what POSIX allows in a handler: no memory is taken, no stream is used.
void explain(int /*signal*/, siginfo_t* info, void* /*context*/) {
  static std::atomic_flag said;
  while (said.test_and_set()) pause();  // another thread came first
  print("eav: ");
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  const int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  std::array<char, 8192> lines{};
  size_t held = 0;
  for (ssize_t count = 0; (count = read(maps, lines.data() + held, lines.size() - held)) > 0;) {
    held += static_cast<size_t>(count);
    size_t begin = 0;
    for (const void* end = nullptr; (end = std::memchr(lines.data() + begin, '\n', held - begin)) != nullptr;) {
      const auto length = static_cast<size_t>(static_cast<const char*>(end) - (lines.data() + begin));
      if (const auto path = path_at({lines.data() + begin, length}, address); !path.empty()) {
        print(path);
        print(": ");
      }
      begin += length + 1;
    }
    held -= begin;
    std::memmove(lines.data(), lines.data() + begin, held);
  }
  print("cannot be read any more: the file was cut short or replaced while it was in use, or its disk failed\n");
  _exit(1);
}

}  // namespace

void explain_bus_errors() {
  struct sigaction action {};
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

}  // namespace eav
