// eav: generates video on the command line.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <csignal>

#include "bus_error.h"
#include "commands.h"
#include "eav/generator.h"
#include "eav/memory.h"
#include "eav/video.h"
#include "printable.h"
#include "terminal.h"

namespace {

constexpr int kFailed = 1, kUsage = 2;

std::string versions() {
  const auto environment = eav::environment();
  return fmt::format("eav {}\nPyTorch {}\nFFmpeg {}", environment.version, environment.torch, eav::ffmpeg_version());
}

int run(int argc, char** argv) {
  CLI::App program("Generates video with diffusion transformers, Enhance-A-Video built in.", "eav");
  program.set_version_flag("--version", versions, "Show versions and exit");
  program.set_help_flag("--help,-h", "Show this help and exit");
  program.require_subcommand(1);
  program.option_defaults()->take_last();  // of an option that is given twice
  program.option_defaults()->disable_flag_override();
  const std::array commands{eav::add_generate(program), eav::add_inspect(program), eav::add_options(program),
                            eav::add_evaluate(program), eav::add_compare(program), eav::add_attention_maps(program),
                            eav::add_convert(program),  eav::add_pull(program),    eav::add_bench(program)};
  program.footer("`eav COMMAND --help` shows the options of a command.");
  try {
    program.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return program.exit(wanted);
  } catch (const CLI::ExtrasError& error) {
    eav::print_error(fmt::format("{} (a prompt of several words needs quotes)", error.what()));
    return kUsage;
  } catch (const CLI::ArgumentMismatch& error) {
    const std::string what = error.what();  // "--steps: 1 required N missing", "offload was given a disallowed …"
    eav::print_error(what.starts_with("-")
                         ? fmt::format("{} needs a value (see eav --help)", what.substr(0, what.find(':')))
                         : fmt::format("--{} takes no value (see eav --help)", what.substr(0, what.find(' '))));
    return kUsage;
  } catch (const CLI::RequiredError& error) {
    const std::string what = error.what();  // "A subcommand is required", "VIDEO is required"
    eav::print_error(what.starts_with("A subcommand")
                         ? "name a command: generate, inspect, options, evaluate, "
                           "compare, attention-maps, convert, pull or bench (see eav --help)"
                         : fmt::format("{} (see eav COMMAND --help)", what));
    return kUsage;
  } catch (const CLI::ParseError& error) {
    eav::print_error(fmt::format("{} (see eav --help)", error.what()));
    return kUsage;
  }
  return std::ranges::find_if(commands, [](const auto& command) { return command.app->parsed(); })->run();
}

}  // namespace

int main(int argc, char** argv) {
  eav::explain_bus_errors();
  eav::keep_freed_memory();
  std::signal(SIGPIPE, SIG_IGN);  // whoever reads what is printed may go, the video is made all the same
  try {
    const int code = run(argc, argv);
    if (eav::flush_stdout()) return code;
    eav::print_error("cannot write to standard output");
    return kFailed;
  } catch (const std::exception& error) {
    const std::string what = error.what();  // PyTorch's errors tell where they come from too
    eav::print_error(what.substr(0, what.find("\nException raised from")));
    return kFailed;
  }
}
