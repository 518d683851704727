// What the families declare, gathered: every option once, for flags, records and documentation.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "eav/option.h"
#include "options/json.h"

namespace eav {
namespace {

// "50; Open-Sora 30": what most families say first, then the others by name.
std::string in_words(const std::vector<std::pair<std::string, std::string>>& by_family) {
  const auto says = [&](const std::string& words) {
    return std::ranges::count(by_family, words, &std::pair<std::string, std::string>::second);
  };
  std::string most;
  if (!by_family.empty()) most = by_family[0].second;
  for (const auto& [family, words] : by_family)
    if (says(words) > says(most)) most = words;
  const bool one_is_usual = by_family.size() == 1 || says(most) > 1;
  std::string text = one_is_usual ? most : "";
  for (const auto& [family, words] : by_family)
    if ((!one_is_usual || words != most) && !words.empty())
      text += fmt::format("{}{} {}", text.empty() ? "" : "; ", family, words);
  return text;
}

void add_choices(std::vector<std::string>& all, const std::vector<std::string>& more) {
  for (const auto& choice : more)
    if (std::ranges::find(all, choice) == all.end()) all.push_back(choice);
}

std::vector<SharedOption> gather() {
  std::vector<SharedOption> shared;
  std::map<std::string, std::vector<std::pair<std::string, std::string>>> standards;
  for (const auto& [family, options] : all_options())
    for (const auto& option : options) {
      auto found = std::ranges::find(shared, option.name, [](const SharedOption& o) { return o.spec.name; });
      if (found == shared.end()) found = shared.insert(shared.end(), {option, {}, {}});
      found->families.push_back(family);
      found->spec.least = std::min(found->spec.least, option.least);
      found->spec.most = std::max(found->spec.most, option.most);
      add_choices(found->spec.choices, option.choices);
      standards[option.name].emplace_back(family, standard_in_words(option));
      if (option.type == OptionSpec::Type::conditions)
        for (const auto& part : option.choices) found->families_of_parts[part].push_back(family);
    }
  for (auto& option : shared) option.standards = in_words(standards[option.spec.name]);
  const auto rank = [](const SharedOption& option) {
    return option.spec.common ? 0 : option.families.size() > 1 ? 1 : 2;
  };
  std::ranges::stable_sort(shared, {}, rank);
  return shared;
}

std::string in_cell(std::string text) {
  for (size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) text.replace(at, 1, "\\|");
  return text;
}

std::string takes(const OptionSpec& spec) {
  using Type = OptionSpec::Type;
  if (spec.type == Type::boolean) return "on or off";
  if (spec.type == Type::whole || spec.type == Type::number) {
    const auto range = fmt::format("{} to {}", spec.least, spec.most);
    return spec.choices.empty() ? range : fmt::format("{}, or {}", range, fmt::join(spec.choices, ", "));
  }
  if (spec.type == Type::conditions) return fmt::format("{}", fmt::join(spec.choices, ", "));
  return kind_of_value(spec);
}

}  // namespace

const std::vector<SharedOption>& shared_options() {
  static const auto all = gather();
  return all;
}

const SharedOption* find_option(const std::string& name) {
  const auto found =
      std::ranges::find(shared_options(), name, [](const SharedOption& option) { return option.spec.name; });
  return found == shared_options().end() ? nullptr : &*found;
}

std::string options_markdown() {
  std::string text =
      "# Options\n\n"
      "Written by `eav options --markdown`, from what the families of models declare. Records hold an option by its\n"
      "name; the command line writes it with dashes (`--enhance-weight`), and `--no-` before one that is to be off.\n"
      "A checkpoint's `eav.json` may set defaults of its own.\n";
  std::string group;
  for (const auto& [spec, families, standards, parts] : shared_options()) {
    const auto of = spec.common ? std::string("Every model") : fmt::format("{}", fmt::join(families, ", "));
    const auto heading = spec.common || families.size() == 1 ? of : "Several families";
    if (heading != group)
      text += fmt::format("\n## {}\n\n| option | takes | default | what it is |\n|---|---|---|---|\n", heading);
    group = heading;
    text += fmt::format("| `{}` | {} | {} | {}{} |\n", spec.name, in_cell(takes(spec)), in_cell(standards),
                        heading == of ? "" : of + ": ", in_cell(spec.help));
  }
  return text;
}

std::string options_json(const std::vector<OptionSpec>& options) {
  static const std::map<OptionSpec::Type, const char*> kTypes{
      {OptionSpec::Type::boolean, "boolean"}, {OptionSpec::Type::whole, "integer"},
      {OptionSpec::Type::seed, "seed"},       {OptionSpec::Type::number, "number"},
      {OptionSpec::Type::text, "text"},       {OptionSpec::Type::choice, "choice"},
      {OptionSpec::Type::numbers, "numbers"}, {OptionSpec::Type::conditions, "conditions"}};
  auto list = nlohmann::ordered_json::array();
  for (const auto& option : options) {
    nlohmann::ordered_json json{{"name", option.name}, {"type", kTypes.at(option.type)}, {"help", option.help}};
    if (option.type == OptionSpec::Type::whole)
      json["range"] = {static_cast<int64_t>(option.least), static_cast<int64_t>(option.most)};
    if (option.type == OptionSpec::Type::number) json["range"] = {option.least, option.most};
    if (!option.choices.empty()) json["choices"] = option.choices;
    json["default"] = option.standard ? to_json(*option.standard) : nlohmann::ordered_json(nullptr);
    if (!option.standard_words.empty()) json["default_words"] = option.standard_words;
    json["common"] = option.common;
    json["recorded"] = option.recorded;
    if (!option.stands_for.empty()) json["stands_for"] = option.stands_for;
    list.push_back(std::move(json));
  }
  return list.dump(2, ' ', /*ensure_ascii=*/true, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace eav
