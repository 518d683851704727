#include "hub/name.h"

#include <algorithm>

namespace eav {
namespace {

constexpr size_t kLongestName = 96, kLongestPath = 1024, kLongestPart = 255;

// As the hub has them: letters, digits, '-', '_' and '.'. "--" stands between the parts of a folder's name in the
// cache.
bool is_plain(std::string_view name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  };
  return !name.empty() && name.size() <= kLongestName && std::ranges::all_of(name, fits) && name.front() != '.' &&
         name.front() != '-' && name.find("--") == std::string_view::npos && name.find("..") == std::string_view::npos;
}

}  // namespace

std::string HubName::str() const { return path.empty() ? repository : repository + ":" + path; }

std::optional<HubName> parse_hub_name(const std::string& text) {
  const auto colon = text.find(':');
  HubName name{.repository = text.substr(0, colon)};
  const auto slash = name.repository.find('/');
  if (slash == std::string::npos) return std::nullopt;
  const std::string_view whole = name.repository;
  if (!is_plain(whole.substr(0, slash)) || !is_plain(whole.substr(slash + 1))) return std::nullopt;
  if (colon == std::string::npos) return name;
  name.path = text.substr(colon + 1);
  if (name.path.ends_with('/')) name.path.pop_back();
  return stays_inside(name.path) ? std::optional(name) : std::nullopt;
}

bool stays_inside(std::string_view path) {
  if (path.size() > kLongestPath) return false;
  const auto is_control = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
  if (std::ranges::any_of(path, is_control)) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find('/', begin), path.size());
    const auto part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > kLongestPart) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace eav
