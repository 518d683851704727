// Values of options: checked, and read from text and written as it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "eav/error.h"
#include "eav/option.h"

namespace eav {
namespace {

using Type = OptionSpec::Type;

std::string words(std::string name) {
  std::ranges::replace(name, '_', ' ');
  return name;
}

std::string expected(const OptionSpec& spec) {
  const auto names = [&] { return fmt::format("{}", fmt::join(spec.choices, "|")); };
  switch (spec.type) {
    case Type::boolean:
      return "true or false";
    case Type::whole:
      return fmt::format("a whole number from {:.0f} to {:.0f}", spec.least, spec.most);
    case Type::seed:
      return fmt::format("a whole number from 0 to {}", std::numeric_limits<uint64_t>::max());
    case Type::number:
      return fmt::format("a number from {} to {}{}", spec.least, spec.most,
                         spec.choices.empty() ? "" : ", or " + names());
    case Type::text:
      return "text";
    case Type::choice:
      return names();
    case Type::numbers:
      return "numbers such as 1000,909,725";
    case Type::conditions:
      return "pictures or videos";
  }
  return {};
}

template <class T>
std::optional<T> parse_whole_text(const std::string& text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

std::optional<std::vector<double>> parse_numbers(const std::string& list) {
  std::vector<double> numbers;
  for (size_t begin = 0; begin <= list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    const auto number = parse_whole_text<double>(list.substr(begin, end - begin));
    if (!number || !std::isfinite(*number)) return std::nullopt;
    numbers.push_back(*number);
    begin = end + 1;
  }
  return numbers;
}

bool is_choice(const OptionSpec& spec, const Value& value) {
  const auto* name = std::get_if<std::string>(&value);
  return name != nullptr && std::ranges::find(spec.choices, *name) != spec.choices.end();
}

// The value in the option's own type and range; nothing where it is not.
std::optional<Value> fitting(const OptionSpec& spec, Value value) {
  const auto* whole = std::get_if<int64_t>(&value);
  const auto in_range = [&](double x) { return spec.least <= x && x <= spec.most; };  // false for NaN
  switch (spec.type) {
    case Type::boolean:
      return std::holds_alternative<bool>(value) ? std::optional(value) : std::nullopt;
    case Type::whole:
      return whole && in_range(static_cast<double>(*whole)) ? std::optional(value) : std::nullopt;
    case Type::seed:
      if (whole && *whole >= 0) return Value(static_cast<uint64_t>(*whole));
      return std::holds_alternative<uint64_t>(value) ? std::optional(value) : std::nullopt;
    case Type::number: {
      if (is_choice(spec, value)) return value;
      if (whole) value = static_cast<double>(*whole);
      const auto* number = std::get_if<double>(&value);
      return number && in_range(*number) ? std::optional(value) : std::nullopt;
    }
    case Type::text:
      return std::holds_alternative<std::string>(value) ? std::optional(value) : std::nullopt;
    case Type::choice:
      return is_choice(spec, value) ? std::optional(value) : std::nullopt;
    case Type::numbers:
      return std::holds_alternative<std::vector<double>>(value) ? std::optional(value) : std::nullopt;
    case Type::conditions:
      return std::holds_alternative<std::vector<Condition>>(value) ? std::optional(value) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Value checked(const OptionSpec& spec, const Value& value) {
  if (auto fits = fitting(spec, value)) return std::move(*fits);
  throw Error(spec.name, fmt::format("{} is {}, expected {}", words(spec.name), to_string(value), expected(spec)));
}

Value parse_value(const OptionSpec& spec, const std::string& text) {
  const auto given = [&]() -> std::optional<Value> {
    switch (spec.type) {
      case Type::boolean:
        return text == "true" || text == "false" ? std::optional<Value>(text == "true") : std::nullopt;
      case Type::whole:
        return parse_whole_text<int64_t>(text);
      case Type::seed:
        return parse_whole_text<uint64_t>(text);
      case Type::number:
        if (is_choice(spec, text)) return text;
        return parse_whole_text<double>(text);
      case Type::numbers:
        return parse_numbers(text);
      case Type::conditions:
        return std::nullopt;
      case Type::text:
      case Type::choice:
        return text;
    }
    return std::nullopt;
  }();
  if (given)
    if (auto fits = fitting(spec, *given)) return std::move(*fits);
  throw Error(spec.name, fmt::format("'{}' does not work, expected {}", text, expected(spec)));
}

std::string kind_of_value(const OptionSpec& spec) {
  if (!spec.kind.empty()) return spec.kind;
  switch (spec.type) {
    case Type::boolean:
      return {};
    case Type::whole:
    case Type::seed:
      return "N";
    case Type::number:
      return spec.choices.empty() ? "N" : fmt::format("N|{}", fmt::join(spec.choices, "|"));
    case Type::choice:
      return fmt::format("{}", fmt::join(spec.choices, "|"));
    case Type::numbers:
      return "LIST";
    case Type::conditions:
      return "FILE";
    case Type::text:
      return "TEXT";
  }
  return {};
}

std::string to_string(const Value& value) {
  struct Words {
    std::string operator()(bool on) const { return on ? "on" : "off"; }
    std::string operator()(int64_t n) const { return std::to_string(n); }
    std::string operator()(uint64_t n) const { return std::to_string(n); }
    std::string operator()(double x) const { return fmt::format("{}", x); }
    std::string operator()(const std::string& text) const { return text; }
    std::string operator()(const std::vector<double>& list) const { return fmt::format("{}", fmt::join(list, ", ")); }
    std::string operator()(const std::vector<Condition>& list) const {
      std::string files;
      for (const auto& condition : list) files += (files.empty() ? "" : ", ") + condition.file.string();
      return files;
    }
  };
  return std::visit(Words{}, value);
}

std::string standard_in_words(const OptionSpec& spec) {
  if (!spec.standard_words.empty()) return spec.standard_words;
  return spec.standard ? to_string(*spec.standard) : "";
}

}  // namespace eav
