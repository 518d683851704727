// JSON of files from anywhere.
#pragma once
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>

namespace eav {

// What the text says; discarded (`is_discarded()`) where it is no JSON, or lists and objects lie in each other deeper
// than any file that is read here needs: reading on would end in an overflow of the stack.
nlohmann::json parse_json(std::string_view text);

// The number without a fraction that `json` is. Throws the JSON library's exception where it is none: its own get()
// cuts any number.
int64_t whole_number(const nlohmann::json& json);

}  // namespace eav
