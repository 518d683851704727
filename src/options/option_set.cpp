#include "options/option_set.h"

namespace eav {
namespace {

template <class T>
OptionSpec with_standard(OptionSpec spec, const Standard<T>& standard) {
  if (standard.value) spec.standard = Value(*standard.value);
  spec.standard_words = standard.words;
  return spec;
}

template <class T>
std::optional<T> get(const std::optional<Value>& value) {
  return value ? std::optional(std::get<T>(*value)) : std::nullopt;
}

}  // namespace

std::optional<Value> OptionSet::declare(OptionSpec spec) {
  if (const auto own = asked_.standards.find(spec.name); own != asked_.standards.end()) {
    spec.standard = checked(spec, own->second);
    spec.standard_words.clear();
  }
  auto value = spec.standard;
  if (const auto asked = asked_.values.find(spec.name); asked != asked_.values.end())
    value = checked(spec, asked->second);
  if (value && spec.stands_for.empty()) values_[spec.name] = *value;
  specs_.push_back(std::move(spec));
  return value;
}

bool OptionSet::boolean(const std::string& name, const std::string& help, bool standard) {
  return *get<bool>(declare({.name = name, .help = help, .type = OptionSpec::Type::boolean, .standard = standard}));
}

int64_t OptionSet::whole(const std::string& name, const std::string& help, Range range,
                         const Standard<int64_t>& standard) {
  OptionSpec spec{
      .name = name, .help = help, .type = OptionSpec::Type::whole, .least = range.least, .most = range.most};
  return get<int64_t>(declare(with_standard(std::move(spec), standard))).value_or(0);
}

double OptionSet::number(const std::string& name, const std::string& help, Range range,
                         const Standard<double>& standard) {
  OptionSpec spec{
      .name = name, .help = help, .type = OptionSpec::Type::number, .least = range.least, .most = range.most};
  return get<double>(declare(with_standard(std::move(spec), standard))).value_or(0);
}

std::optional<double> OptionSet::number_or_none(const std::string& name, const std::string& help, Range range,
                                                const std::string& standard_words) {
  return get<double>(declare({.name = name,
                              .help = help,
                              .type = OptionSpec::Type::number,
                              .least = range.least,
                              .most = range.most,
                              .standard_words = standard_words}));
}

std::string OptionSet::choice(const std::string& name, const std::string& help, std::vector<std::string> choices,
                              const Standard<std::string>& standard) {
  OptionSpec spec{.name = name, .help = help, .type = OptionSpec::Type::choice, .choices = std::move(choices)};
  return get<std::string>(declare(with_standard(std::move(spec), standard))).value_or("");
}

std::optional<std::string> OptionSet::text_or_none(const std::string& name, const std::string& help,
                                                   const std::string& standard_words, const std::string& kind) {
  return get<std::string>(declare(
      {.name = name, .help = help, .type = OptionSpec::Type::text, .standard_words = standard_words, .kind = kind}));
}

void OptionSet::every_family_has_these() {
  for (auto& spec : specs_) spec.common = true;
}

std::vector<double> OptionSet::numbers(const std::string& name, const std::string& help,
                                       const std::string& standard_words) {
  return get<std::vector<double>>(
             declare({.name = name, .help = help, .type = OptionSpec::Type::numbers, .standard_words = standard_words}))
      .value_or(std::vector<double>());
}

std::optional<std::string> OptionSet::name_for(std::vector<std::string> others, const std::string& name,
                                               const std::string& help, const std::string& kind,
                                               const std::string& standard_words) {
  return get<std::string>(declare({.name = name,
                                   .help = help,
                                   .type = OptionSpec::Type::text,
                                   .standard_words = standard_words,
                                   .kind = kind,
                                   .recorded = false,
                                   .stands_for = std::move(others)}));
}

}  // namespace eav
