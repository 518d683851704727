#include "models/named.h"

#include <algorithm>
#include <cctype>

namespace eav {

bool is_named(const std::filesystem::path& model, const std::string& word) {
  auto path = (std::filesystem::absolute(model) / "").lexically_normal().parent_path();
  if (path.parent_path().filename() == "snapshots") path = path.parent_path().parent_path();
  auto name = path.filename().string();
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name.find(word) != std::string::npos;
}

}  // namespace eav
