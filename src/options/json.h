// Values of options as JSON: in records, in a checkpoint's eav.json, and for programs.
#pragma once
#include <nlohmann/json.hpp>

#include "eav/option.h"

namespace eav {

// Throws eav::Error, with the option's name, where the JSON is no value that the option takes.
Value value_of_json(const OptionSpec& spec, const nlohmann::json& json);
nlohmann::ordered_json to_json(const Value& value);

}  // namespace eav
