#include "options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace eav {
namespace {

template <class T>
T parse(const std::string& name, const std::string& text, const std::string& kind, T least, T most) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole_text = error == std::errc() && end == text.data() + text.size();
  if (!whole_text || !(least <= value && value <= most))  // false for "nan" too
    throw CLI::ValidationError(name,
                               fmt::format("'{}' does not work, expected {} from {} to {}", text, kind, least, most));
  return value;
}

template <class T>
CLI::Option* add(CLI::App& command, const std::string& name, const std::string& description, const std::string& kind,
                 T least, T most, const std::function<void(T)>& set) {
  const auto read = [=](const std::string& text) { set(parse(name, text, kind, least, most)); };
  return command.add_option_function<std::string>(name, read, description)->type_name("N");
}

}  // namespace

CLI::Option* add_whole(CLI::App& command, const std::string& name, const std::string& description, uint64_t least,
                       uint64_t most, const std::function<void(uint64_t)>& set) {
  return add<uint64_t>(command, name, description, "a whole number", least, most, set);
}

CLI::Option* add_number(CLI::App& command, const std::string& name, const std::string& description, double least,
                        double most, const std::function<void(double)>& set) {
  return add<double>(command, name, description, "a number", least, most, set);
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= list.size();) {
    const auto end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string flag_of(const std::string& option) {
  auto flag = "--" + option;
  std::ranges::replace(flag, '_', '-');
  return flag;
}

}  // namespace eav
