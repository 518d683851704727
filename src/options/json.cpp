#include "options/json.h"

#include <fmt/format.h>

#include <set>

#include "eav/error.h"

namespace eav {
namespace {

using Json = nlohmann::ordered_json;

std::optional<Condition> condition_of_json(const nlohmann::json& json) {
  static const std::set<std::string> kFields{"file", "is_video", "frame_index", "strength"};
  if (!json.is_object() || !json.contains("file") || !json["file"].is_string()) return std::nullopt;
  for (const auto& [name, value] : json.items())
    if (!kFields.contains(name)) return std::nullopt;
  const auto fits = [&](const char* name, auto is_type) {
    return !json.contains(name) || json[name].is_null() || is_type(json[name]);
  };
  if (!fits("is_video", [](const auto& v) { return v.is_boolean(); }) ||
      !fits("frame_index", [](const auto& v) { return v.is_number_integer(); }) ||
      !fits("strength", [](const auto& v) { return v.is_number(); }))
    return std::nullopt;
  Condition condition{.file = json["file"].get<std::string>()};
  const auto has = [&](const char* name) { return json.contains(name) && !json[name].is_null(); };
  if (has("is_video")) condition.is_video = json["is_video"];
  if (has("frame_index")) condition.frame_index = json["frame_index"].get<int64_t>();
  if (has("strength")) condition.strength = json["strength"].get<double>();
  return condition;
}

// The elements of a list by `convert`; nothing where one of them is none.
template <class T, class Convert>
std::optional<std::vector<T>> list_of_json(const nlohmann::json& json, Convert convert) {
  if (!json.is_array()) return std::nullopt;
  std::vector<T> list;
  for (const auto& item : json) {
    const std::optional<T> element = convert(item);
    if (!element) return std::nullopt;
    list.push_back(*element);
  }
  return list;
}

std::optional<Value> any_value(const OptionSpec& spec, const nlohmann::json& json) {
  const auto list = [](auto found) { return found ? std::optional<Value>(std::move(*found)) : std::nullopt; };
  if (spec.type == OptionSpec::Type::conditions) return list(list_of_json<Condition>(json, condition_of_json));
  if (spec.type == OptionSpec::Type::numbers)
    return list(list_of_json<double>(json, [](const nlohmann::json& item) {
      return item.is_number() ? std::optional(item.get<double>()) : std::nullopt;
    }));
  if (json.is_boolean()) return json.get<bool>();
  if (json.is_number_unsigned() && json.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) return json.get<uint64_t>();
  if (json.is_number_integer()) return json.get<int64_t>();
  if (json.is_number()) return json.get<double>();
  if (json.is_string()) return json.get<std::string>();
  return std::nullopt;
}

template <class T>
Json plain_json(const T& value) {
  if constexpr (std::is_same_v<T, std::vector<Condition>>)
    return {};
  else
    return value;
}

}  // namespace

Value value_of_json(const OptionSpec& spec, const nlohmann::json& json) {
  if (auto value = any_value(spec, json)) return checked(spec, std::move(*value));
  throw Error(spec.name, fmt::format("\"{}\" is {}, which is no value of that option", spec.name,
                                     json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)));
}

Json to_json(const Value& value) {
  const auto* conditions = std::get_if<std::vector<Condition>>(&value);
  if (conditions == nullptr) return std::visit([](const auto& plain) { return plain_json(plain); }, value);
  auto json = Json::array();
  for (const auto& condition : *conditions)
    json.push_back({{"file", condition.file.string()},
                    {"is_video", condition.is_video},
                    {"frame_index", nullable(condition.frame_index)},
                    {"strength", nullable(condition.strength)}});
  return json;
}

}  // namespace eav
