// JSON of files from anywhere.
#pragma once
#include <nlohmann/json.hpp>
#include <string_view>

namespace eav {

// What the text says; discarded (`is_discarded()`) where it is no JSON, or lists and objects lie in each other deeper
// than any file that is read here needs: reading on would end in an overflow of the stack.
nlohmann::json parse_json(std::string_view text);

}  // namespace eav
