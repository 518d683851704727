#include "hub/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <optional>

#include "eav/error.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

// The value of a variable; nothing where it is unset or empty.
std::optional<std::string> from_environment(const char* variable) {
  const auto* value = std::getenv(variable);
  return value == nullptr || *value == '\0' ? std::nullopt : std::optional<std::string>(value);
}

// A folder of the environment, in which "~" is the user's.
std::optional<fs::path> folder_of(const char* variable) {
  const auto text = from_environment(variable);
  if (!text) return std::nullopt;
  const auto home = from_environment("HOME");
  if (home && (*text == "~" || text->starts_with("~/"))) return *home + text->substr(1);
  return *text;
}

}  // namespace

fs::path hub_home() {
  if (auto home = folder_of("HF_HOME")) return *home;
  if (auto caches = folder_of("XDG_CACHE_HOME")) return *caches / "huggingface";
  return fs::path(from_environment("HOME").value_or("/")) / ".cache" / "huggingface";
}

fs::path hub_cache() { return folder_of("HF_HUB_CACHE").value_or(hub_home() / "hub"); }

std::string hub_endpoint() {
  auto url = from_environment("HF_ENDPOINT").value_or("https://huggingface.co");
  while (url.ends_with('/')) url.pop_back();
  if (!url.starts_with("https://") && !url.starts_with("http://"))
    throw Error(fmt::format("HF_ENDPOINT is '{}', expected a URL that begins with https://", url));
  return url;
}

std::string hub_token() {
  auto token = from_environment("HF_TOKEN").value_or("");
  if (token.empty()) std::ifstream(from_environment("HF_TOKEN_PATH").value_or(hub_home() / "token")) >> token;
  const auto space = " \t\r\n";
  token.erase(0, std::min(token.find_first_not_of(space), token.size()));
  token.erase(token.find_last_not_of(space) + 1);
  if (!std::ranges::all_of(token, [](char c) { return c > ' ' && c <= '~'; }))
    throw Error("HF_TOKEN holds characters that no token has");
  return token;
}

bool hub_is_offline() {
  auto value = from_environment("HF_HUB_OFFLINE").value_or("");
  std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  static constexpr std::array kOn{"1", "ON", "TRUE", "YES"};
  return std::ranges::find(kOn, value) != kOn.end();
}

}  // namespace eav
