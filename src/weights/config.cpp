#include "weights/config.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "base/lfs.h"
#include "base/regular_file.h"

namespace eav {
namespace {

template <class T>
constexpr const char* kTypeName = nullptr;
template <>
constexpr const char* kTypeName<bool> = "true or false";
template <>
constexpr const char* kTypeName<int64_t> = "a whole number";
template <>
constexpr const char* kTypeName<double> = "a number";
template <>
constexpr const char* kTypeName<std::string> = "a string";

template <class T>
bool has_type(const nlohmann::json& value) {
  if constexpr (std::is_same_v<T, bool>) return value.is_boolean();
  if constexpr (std::is_same_v<T, int64_t>) return value.is_number_integer();
  if constexpr (std::is_same_v<T, double>) return value.is_number();
  if constexpr (std::is_same_v<T, std::string>) return value.is_string();
}

template <class T>
struct ElementOf {
  using type = T;
  static constexpr bool is_list = false;
};
template <class T>
struct ElementOf<std::vector<T>> {
  using type = T;
  static constexpr bool is_list = true;
};

// A value as an error message shows it.
std::string shown(const nlohmann::json& value) {
  auto text = value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 57) + "..." : text;
}

}  // namespace

JsonFile::JsonFile(const std::filesystem::path& path) : path_(path) {
  const auto text = read_file(path);
  refuse_lfs_pointer(path, text);
  json_ = parse_json(text);
  if (!json_.is_object()) throw Error(fmt::format("{}: is no valid JSON object", path.string()));
}

JsonFile::JsonFile(const std::filesystem::path& path, nlohmann::json object) : path_(path), json_(std::move(object)) {
  if (!json_.is_object())
    throw Error(fmt::format("{}: {} stands where an object is expected", path.string(), shown(json_)));
}

template <class T>
T JsonFile::convert(const std::string& field, const nlohmann::json& value) const {
  using E = typename ElementOf<T>::type;
  bool right = false;
  if constexpr (ElementOf<T>::is_list)
    right = value.is_array() && std::all_of(value.begin(), value.end(), has_type<E>);
  else
    right = has_type<E>(value);
  if (!right)
    throw Error(fmt::format("{}: \"{}\" is {}, expected {}{}", path_.string(), field, shown(value),
                            ElementOf<T>::is_list ? "a list, each entry " : "", kTypeName<E>));
  return value.get<T>();
}

int64_t JsonFile::count(const std::string& field, std::optional<int64_t> fallback) const {
  const auto value = fallback ? get<int64_t>(field, *fallback) : get<int64_t>(field);
  constexpr int64_t kMost = 1'000'000'000;
  if (value < 1)
    throw Error(fmt::format("{}: \"{}\" is {}, expected a number of at least 1", path_.string(), field, value));
  if (value > kMost)
    throw Error(fmt::format("{}: \"{}\" is {}, expected a number of at most {}", path_.string(), field, value, kMost));
  return value;
}

template bool JsonFile::convert(const std::string&, const nlohmann::json&) const;
template int64_t JsonFile::convert(const std::string&, const nlohmann::json&) const;
template double JsonFile::convert(const std::string&, const nlohmann::json&) const;
template std::string JsonFile::convert(const std::string&, const nlohmann::json&) const;
template std::vector<bool> JsonFile::convert(const std::string&, const nlohmann::json&) const;
template std::vector<int64_t> JsonFile::convert(const std::string&, const nlohmann::json&) const;
template std::vector<double> JsonFile::convert(const std::string&, const nlohmann::json&) const;
template std::vector<std::string> JsonFile::convert(const std::string&, const nlohmann::json&) const;

}  // namespace eav
