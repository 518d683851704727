#include "hub/patience.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <thread>

#include "eav/error.h"

namespace eav {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr int kMostFailures = 6;
constexpr std::chrono::milliseconds kFirstWait = 250ms, kLongestWait = 60s;

// How long the server asks to wait, in seconds; a date, which it may also give, is passed over.
std::chrono::milliseconds asked_wait(const Answer& answer) {
  const auto found = answer.headers.find("retry-after");
  if (found == answer.headers.end()) return 0ms;
  const auto& text = found->second;
  int64_t seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::min<std::chrono::milliseconds>(std::chrono::seconds(std::clamp<int64_t>(seconds, 0, 60)), kLongestWait);
}

}  // namespace

bool Patience::may_help(const Answer& answer) {
  static constexpr std::array<int64_t, 8> kPassing{408, 416, 425, 429, 500, 502, 503, 504};
  return !answer.broken.empty() || std::ranges::find(kPassing, answer.status) != kPassing.end();
}

void Patience::wait(const Answer& answer, const std::string& what) {
  const auto why = !answer.broken.empty() ? answer.broken : fmt::format("the server answers {}", answer.status);
  if (++failures_ == kMostFailures)
    throw Error(fmt::format("{}: {}, {} times one after the other; the same command goes on where this ended", what,
                            why, kMostFailures));
  const auto wait = std::max<std::chrono::milliseconds>(kFirstWait * (1 << (failures_ - 1)), asked_wait(answer));
  if (failures_ > 1) progress_.warning(fmt::format("{}: {}: trying again", what, why));
  const auto until = Clock::now() + wait;
  while (Clock::now() < until) {
    progress_.check();
    std::this_thread::sleep_for(20ms);
  }
}

}  // namespace eav
