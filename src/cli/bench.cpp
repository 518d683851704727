// eav bench: how long a video would take on this machine.
#include "eav/bench.h"

#include <fmt/format.h>

#include "commands.h"
#include "errors.h"
#include "interrupt.h"
#include "outputs.h"
#include "printable.h"
#include "request_options.h"
#include "terminal.h"

namespace eav {
namespace {

struct BenchOptions {
  AskedOptions asked;
  bool json = false;
};

// "17,550"
std::string grouped(int64_t number) {
  auto text = fmt::format("{}", number);
  for (auto at = static_cast<std::ptrdiff_t>(text.size()) - 3; at > 0; at -= 3)
    text.insert(static_cast<size_t>(at), ",");
  return text;
}

void print_report(const BenchReport& report, const std::filesystem::path& model) {
  print_text("{}: {} frames of {}x{}, {} steps, {} tokens\n\n", name_of_model(model), report.size.frames,
             report.size.width, report.size.height, *report.request.steps, grouped(report.tokens));
  const auto row = [](const std::string& name, const auto& list, const auto& cell) {
    print_text("  {:<34}", name);
    for (const auto& one : list) print_text("{:>14}", cell(one));
    print_text("\n");
  };
  row("", report.rates, [](const MachineRate& rate) { return rate.type; });
  row("linear layers, GFLOP/s", report.rates, [](const MachineRate& r) { return fmt::format("{:.0f}", r.linear); });
  row("attention, GFLOP/s", report.rates, [](const MachineRate& r) { return fmt::format("{:.0f}", r.attention); });
  print_text("\n");
  const auto& all = report.estimates;
  for (size_t i = 0; i < all[0].blocks.size(); ++i)
    row(fmt::format("one of {} {}", all[0].blocks[i].count, all[0].blocks[i].name), all,
        [&](const TimeEstimate& e) { return human_seconds(e.blocks.at(i).seconds); });
  row("a step", all, [](const TimeEstimate& e) { return human_seconds(e.step); });
  row("text encoder", all, [](const TimeEstimate& e) { return human_seconds(e.text_encoder); });
  row("transformer", all, [](const TimeEstimate& e) { return human_seconds(e.transformer); });
  row("vae", all, [](const TimeEstimate& e) { return human_seconds(e.vae); });
  row("a video, about", all, [](const TimeEstimate& e) { return human_seconds(e.video()); });
  row("with --cache easy, as --fast", all, [](const TimeEstimate& e) { return human_seconds(e.with_fewer_steps()); });
  print_text("\n");
  for (const auto& estimate : all) {
    std::string sizes;
    for (const auto tokens : estimate.tokens) sizes += (sizes.empty() ? "" : ", ") + grouped(tokens);
    const bool whole = estimate.tokens.back() == report.tokens;
    print_text("{}: blocks were timed at {} tokens{}\n", estimate.type, whole ? grouped(report.tokens) : sizes,
               whole ? "" : "; the rest is a fit with tokens and tokens squared");
  }
  print_text(
      "The text encoder is told by one of its blocks, the VAE by a small piece. Loading is left out.\n"
      "--fast leaves out as many steps as of the demo's videos, where others are alike: docs/speed.md.\n");
}

int bench(const BenchOptions& options) {
  Interrupt interrupt;
  TerminalProgress progress(interrupt);
  const auto paths = options.asked.paths_over({});
  try {
    const auto report = eav::bench(paths, options.asked.runtime_over({}), options.asked.over({}), progress);
    progress.clear();
    if (options.json)
      fmt::print("{}", report.to_json());
    else
      print_report(report, paths.model);
    return 0;
  } catch (const Cancelled& stopped) {
    progress.clear();
    print_error(stopped.what());
    return interrupt.exit_code();
  }
}

}  // namespace

Command add_bench(CLI::App& program) {
  auto& command =
      *program.add_subcommand("bench", "Tell in a minute how long a video of a size would take on this machine");
  const auto options = std::make_shared<BenchOptions>();
  command.add_flag("--json", options->json, "Print it as JSON");
  add_request_options(command, options->asked, {"enhance_maps", "latents_only", "init_latents"});
  return {&command, [options] { return bench(*options); }};
}

}  // namespace eav
