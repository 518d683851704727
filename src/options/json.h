// Values of options as JSON: in records, in a checkpoint's eav.json, and for programs.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>

#include "eav/option.h"

namespace eav {

// Throws eav::Error, with the option's name, where the JSON is no value that the option takes.
Value value_of_json(const OptionSpec& spec, const nlohmann::json& json);
nlohmann::ordered_json to_json(const Value& value);

// null where there is no value.
template <class T>
nlohmann::ordered_json nullable(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace eav
