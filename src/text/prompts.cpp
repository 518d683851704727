#include "eav/prompts.h"

#include <fmt/format.h>

#include <fstream>

#include "eav/error.h"
#include "text/tokenizer/unicode.h"

namespace eav {

std::vector<std::string> read_prompts(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);  // a pipe too, such as /dev/stdin
  if (!in || std::filesystem::is_directory(file)) throw Error(fmt::format("'{}' cannot be read", file.string()));
  std::vector<std::string> prompts;
  for (std::string line; std::getline(in, line);) {
    if (prompts.empty() && line.starts_with("\xEF\xBB\xBF")) line.erase(0, 3);  // a mark that some editors write
    if (line.ends_with('\r')) line.pop_back();
    const auto fail = [&](const char* what) {
      return Error(fmt::format("'{}', line {}: {}", file.string(), prompts.size() + 1, what));
    };
    if (line.find_first_not_of(" \t") == std::string::npos) throw fail("is empty, expected one prompt a line");
    if (!text::is_utf8(line)) throw fail("is not valid UTF-8");
    prompts.push_back(line);
  }
  if (prompts.empty()) throw Error(fmt::format("'{}' is empty, expected one prompt a line", file.string()));
  return prompts;
}

}  // namespace eav
