// Names of what the hub holds: ORG/NAME for a repository, ORG/NAME:PATH for a file or folder in it.
#pragma once
#include <optional>
#include <string>
#include <string_view>

namespace eav {

struct HubName {
  std::string repository;  // "ORG/NAME"
  std::string path{};      // of a file or folder in it; empty: all of it

  std::string str() const;
};

// Nothing where the text is no such name.
std::optional<HubName> parse_hub_name(const std::string& text);

// Whether a path, as a server or a user names it, stays in the folder that it is put into: it is relative, no part of
// it is empty, "." or "..", and it has no control characters.
bool stays_inside(std::string_view path);

}  // namespace eav
