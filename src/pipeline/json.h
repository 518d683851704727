// Values in JSON that we write.
#pragma once
#include <nlohmann/json.hpp>
#include <optional>

namespace eav {

// null where there is no value.
template <class T>
nlohmann::ordered_json nullable(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json(nullptr);
}

}  // namespace eav
