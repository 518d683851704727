// eav options: lists what can be asked of a checkpoint, or of every family.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "commands.h"
#include "eav/generator.h"
#include "options.h"
#include "printable.h"
#include "request_options.h"

namespace eav {
namespace {

struct ListOptions {
  ModelPaths paths;
  bool json = false, markdown = false;
};

void print_option(const OptionSpec& spec, const std::string& standard, const std::string& families) {
  print_text("  {:<40}{}{}{}\n", fmt::format("{} {}", flag_of(spec.name), kind_of_value(spec)), families, spec.help,
             standard.empty() ? "" : fmt::format(" [{}]", standard));
}

int list_options(const ListOptions& options) {
  if (options.markdown) {
    print_lines(options_markdown());
    return 0;
  }
  if (!options.paths.model.empty()) {
    const auto of_model = Generator(options.paths, {}).options();
    if (options.json) {
      print_lines(options_json(of_model));
      return 0;
    }
    for (const auto& option : of_model) print_option(option, standard_in_words(option), "");
    return 0;
  }
  if (options.json) {
    std::vector<OptionSpec> all;
    for (const auto& option : shared_options()) all.push_back(option.spec);
    print_lines(options_json(all));
    return 0;
  }
  for (const auto& option : shared_options())
    print_option(option.spec, option.standards,
                 option.spec.common ? "" : fmt::format("{}: ", fmt::join(option.families, ", ")));
  return 0;
}

}  // namespace

Command add_options(CLI::App& program) {
  auto& command = *program.add_subcommand("options", "List what can be asked of a checkpoint, or of every family");
  const auto options = std::make_shared<ListOptions>();
  add_model_options(command, options->paths, "Checkpoint, whose own defaults are shown [every family]");
  command.add_flag("--json", options->json, "Print options as a JSON list, for programs that draw forms");
  command.add_flag("--markdown", options->markdown,
                   "Print every option of every family as Markdown, as in docs/options.md");
  return {&command, [options] { return list_options(*options); }};
}

}  // namespace eav
