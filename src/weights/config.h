// Reads the JSON files of a checkpoint, with errors that name the file and the field.
#pragma once
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "eav/error.h"

namespace eav {

class JsonFile {
 public:
  // Throws eav::Error when the file cannot be read or is no JSON object.
  explicit JsonFile(const std::filesystem::path& path);
  // An object that was read from `path`. Throws eav::Error when it is none.
  JsonFile(const std::filesystem::path& path, nlohmann::json object);

  const std::filesystem::path& path() const { return path_; }
  const nlohmann::json& json() const { return json_; }
  bool has(const std::string& field) const { return json_.contains(field) && !json_.at(field).is_null(); }

  // The field's value: int64_t, double, bool, std::string or a vector of these. A missing or null field gives
  // `fallback`; without one it is an error, as is a value of another type.
  template <class T>
  T get(const std::string& field) const {
    if (!has(field)) throw Error(path_.string() + ": \"" + field + "\" is missing");
    return convert<T>(field, json_.at(field));
  }
  template <class T>
  T get(const std::string& field, T fallback) const {
    return has(field) ? convert<T>(field, json_.at(field)) : std::move(fallback);
  }
  template <class T>
  std::optional<T> optional(const std::string& field) const {
    return has(field) ? std::optional(get<T>(field)) : std::nullopt;
  }
  // A whole number of at least 1: layers, channels, sizes.
  int64_t count(const std::string& field, std::optional<int64_t> fallback = std::nullopt) const;

 private:
  template <class T>
  T convert(const std::string& field, const nlohmann::json& value) const;

  std::filesystem::path path_;
  nlohmann::json json_;
};

}  // namespace eav
