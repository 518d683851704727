// Sizes of which something is made before any tensor is looked at: a configuration may not claim any number of them.
#pragma once
#include <fmt/format.h>

#include "weights/config.h"

namespace eav {

// JsonFile::count() of at most `most`.
inline int64_t count_up_to(int64_t most, const JsonFile& config, const std::string& field,
                           std::optional<int64_t> fallback = std::nullopt) {
  const auto value = config.count(field, fallback);
  if (value > most)
    throw Error(
        fmt::format("{}: \"{}\" is {}, expected a number of at most {}", config.path().string(), field, value, most));
  return value;
}

inline int64_t count_layers(const JsonFile& config, const std::string& field,
                            std::optional<int64_t> fallback = std::nullopt) {
  return count_up_to(1000, config, field, fallback);
}

}  // namespace eav
