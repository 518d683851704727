#include "from.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "demo.h"
#include "eav/error.h"
#include "options.h"

namespace eav {
namespace {

using Conditions = std::vector<Condition>;

const Conditions* conditions_in(const Settings& settings) {
  const auto found = settings.find("conditions");
  return found == settings.end() ? nullptr : std::get_if<Conditions>(&found->second);
}

// A LoRA that takes the place of one whose file is missing is applied as strongly, and to the same expert.
void place_as_recorded(std::vector<Lora>& asked, const std::vector<Lora>& recorded) {
  if (asked.size() != recorded.size()) return;
  for (size_t i = 0; i < asked.size(); ++i) {
    if (!asked[i].strength) asked[i].strength = recorded[i].strength;
    if (asked[i].expert == Lora::Expert::both) asked[i].expert = recorded[i].expert;
  }
}

// A picture or clip that takes the place of one whose file is missing is shown where that was, and as strongly.
void place_as_recorded(Settings& asked, const Settings& recorded) {
  const auto *given = conditions_in(asked), *before = conditions_in(recorded);
  if (given == nullptr || before == nullptr || given->size() != before->size()) return;
  auto placed = *given;
  for (size_t i = 0; i < placed.size(); ++i) {
    if (!placed[i].frame_index) placed[i].frame_index = (*before)[i].frame_index;
    if (!placed[i].strength) placed[i].strength = (*before)[i].strength;
  }
  asked["conditions"] = placed;
}

}  // namespace

Record read_from(const std::filesystem::path& file, AskedOptions& asked) {
  auto record = read_record(file);
  if (std::erase(record.missing, "model") > 0) {
    if (asked.paths.model.empty() && record.paths.model == demo_model().filename()) record.paths.model = demo_model();
    if (asked.paths.model.empty() && !record.paths.model.has_parent_path())
      record.missing.insert(record.missing.begin(), "model");
  }
  const auto& request = record.request;
  std::vector<std::string> names, flags;
  for (const auto& option : record.missing) {
    // With another model go the parts that belong to the recorded one: AskedOptions::paths_over.
    const auto part = std::ranges::find(ModelPaths::members(), option, [](const auto& member) { return member.first; });
    if (part != ModelPaths::members().end() && option != "model") {
      if (!(asked.paths.*part->second).empty()) continue;
      names.push_back(fmt::format("'{}'", (record.paths.*part->second).string()));
    } else if (option == "conditions") {
      if (asked.settings.contains(option)) {
        place_as_recorded(asked.settings, request.settings);
        continue;
      }
      for (const auto& condition : *conditions_in(request.settings)) {
        names.push_back(fmt::format("'{}'", condition.file.filename().string()));
        const auto* flag = condition.is_video ? "--video" : condition.frame_index == -1 ? "--last-image" : "--image";
        if (std::ranges::find(flags, flag) == flags.end()) flags.emplace_back(flag);
      }
      continue;
    } else if (option == "lora") {
      if (asked.without_loras) continue;
      if (!asked.paths.loras.empty()) {
        place_as_recorded(asked.paths.loras, record.paths.loras);
        continue;
      }
      for (const auto& lora : record.paths.loras)
        if (!lora.file.has_parent_path()) names.push_back(fmt::format("'{}'", lora.file.string()));
    } else if (option == "init_latents") {
      if (asked.settings.contains(option)) continue;
      names.push_back(fmt::format("'{}'", request.init_latents.string()));
    } else {
      names.push_back(fmt::format("'{}'", record.paths.model.string()));
    }
    flags.push_back(flag_of(option));
  }
  if (!names.empty())
    throw Error(fmt::format("'{}' was made with {}, which {} not beside it: give {}", file.string(),
                            fmt::join(names, ", "), names.size() == 1 ? "is" : "are", fmt::join(flags, ", ")));
  return record;
}

}  // namespace eav
