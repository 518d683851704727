// eav attention-maps: shows what the enhancement saw and did.
#include "eav/attention_maps.h"

#include <fmt/format.h>

#include "commands.h"
#include "eav/record.h"
#include "eav/video.h"
#include "errors.h"
#include "files.h"
#include "printable.h"

namespace eav {
namespace {

struct AttentionMapsOptions {
  std::filesystem::path trace, out;
  bool overwrite = false;
};

int run(const AttentionMapsOptions& options) {
  const auto suffix = options.out.extension();
  if (suffix != ".html" && suffix != ".png")
    throw Error(fmt::format("cannot tell what to write from '{}'; end it in .html or .png", options.out.string()));
  check_file(options.out, options.overwrite);
  const auto trace = read_trace(options.trace);
  naming(fmt::format("'{}': ", options.trace.string()), [&] {
    suffix == ".html" ? write_file(options.out, attention_maps_page(trace))
                      : write_picture(options.out, attention_maps_picture(trace));
  });
  print_text("{}: {} token frames, {} steps, {} layers\n", options.out.string(), trace.token_frames, trace.steps,
             trace.layers);
  return 0;
}

}  // namespace

Command add_attention_maps(CLI::App& program) {
  auto& command = *program.add_subcommand("attention-maps", "Show what the enhancement saw and did in a run");
  const auto options = std::make_shared<AttentionMapsOptions>();
  command.add_option("TRACE", options->trace, "Trace that `eav generate --trace` wrote")->type_name("")->required();
  command.add_option("--out", options->out, "Page (.html) or picture (.png) to write")->type_name("FILE")->required();
  command.add_flag("--overwrite", options->overwrite, "Replace a file that exists");
  return {&command, [options] { return run(*options); }};
}

}  // namespace eav
