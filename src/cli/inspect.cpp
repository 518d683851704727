// eav inspect: shows what a checkpoint holds and needs.
#include <fmt/format.h>

#include "cli/commands.h"
#include "cli/demo.h"
#include "cli/options.h"
#include "cli/terminal.h"
#include "eav/generator.h"

namespace eav {
namespace {

struct InspectOptions {
  ModelPaths paths;
  Request request;
  Runtime runtime;
};

// "7.3 M"
std::string human_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value < 1e3) return fmt::format("{}", count);
  if (value < 1e6) return fmt::format("{:.1f} k", value / 1e3);
  if (value < 1e9) return fmt::format("{:.1f} M", value / 1e6);
  return fmt::format("{:.2f} B", value / 1e9);
}

std::string stored_types(const Part& part) {
  if (part.dtypes.size() == 1) return part.dtypes[0].first;
  std::string text;
  for (const auto& [type, parameters] : part.dtypes)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", human_count(parameters), type);
  return text;
}

int inspect(const InspectOptions& options) {
  auto paths = options.paths;
  if (paths.model.empty()) paths.model = demo_model();
  const Generator generator(paths, options.runtime);
  const auto inspection = generator.inspect();
  const auto request = generator.resolve(options.request);
  const auto plan = generator.plan(request);
  const auto grid = generator.grid(request);
  const auto size = [](int64_t bytes) { return human_size(static_cast<uintmax_t>(bytes)); };

  fmt::print("{}, {}\n\n", inspection.family, paths.model.string());
  constexpr const char* kPart = "  {:<16}{:<32}{:>12}{:>12}  {}\n";
  fmt::print(kPart, "part", "class", "parameters", "on disk", "stored as");
  for (const auto& part : inspection.parts)
    part.parameters > 0
        ? fmt::print(kPart, part.name, part.kind, human_count(part.parameters), size(part.bytes), stored_types(part))
        : fmt::print(kPart, part.name, part.kind, "-", "-", "-");

  const auto video = generator.video_size(request);
  fmt::print("\nmemory for {} frames of {}x{} in {} on {}\n", video.frames, video.width, video.height,
             to_string(plan.dtype), generator.runtime().device);
  constexpr const char* kPhase = "  {:<16}{:>12}{:>14}{:>12}\n";
  fmt::print(kPhase, "phase", "weights", "activations", "together");
  for (const auto& phase : plan.phases)
    fmt::print(kPhase, phase.name, size(phase.weights), size(phase.activations), size(phase.total()));
  fmt::print("  one phase follows another: a run needs {}\n", size(plan.peak()));

  fmt::print("\nenhancement\n  {}\n  weight {} unless --enhance-weight says otherwise\n", inspection.enhanced_layers,
             *request.enhance.weight);
  fmt::print("  {} token frames (T) of {} positions (S): a layer is scaled where CFI > 1 / (T + weight) = {:.3f}\n",
             grid.frames, grid.positions, 1 / (static_cast<double>(grid.frames) + *request.enhance.weight));
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& program) {
  auto& command = *program.add_subcommand("inspect", "Show what a checkpoint holds, and the memory that a size needs");
  const auto options = std::make_shared<InspectOptions>();
  constexpr uint64_t kMost = std::numeric_limits<int32_t>::max();
  const auto set = [options](auto field) {
    return [=](uint64_t value) { options->request.*field = static_cast<int64_t>(value); };
  };
  command
      .add_option("PATH", options->paths.model,
                  "Checkpoint folder, or LTX-Video's single file [the demo that ships with eav]")
      ->type_name("");
  command.add_option("--vae", options->paths.vae, "Open-Sora, where PATH is the transformer's folder: that of the VAE")
      ->type_name("DIR");
  command
      .add_option("--text-encoder", options->paths.text_encoder,
                  "The same, or with a single file: that of the text encoder, T5, and the tokenizer")
      ->type_name("DIR");
  add_whole(command, "--width", "Pixels [the checkpoint's]", 1, kMost, set(&Request::width));
  add_whole(command, "--height", "Pixels [the checkpoint's]", 1, kMost, set(&Request::height));
  add_whole(command, "--frames", "Frames of the video: 1 or 8k + 1, HunyuanVideo 4k + 1 [the checkpoint's]", 1, kMost,
            set(&Request::frames));
  add_choice(command, "--vae-tiling", "Decode in tiles [the family's]", {"auto", "on", "off"},
             [=](const std::string& value) { options->request.vae_tiling = parse_vae_tiling(value); });
  command.add_flag("--offload", options->runtime.offload, "Load blocks one at a time, each when it is used");
  add_choice(command, "--dtype", "Type to compute in [auto]", {"auto", "float32", "bfloat16", "float16"},
             [=](const std::string& value) { options->runtime.dtype = parse_dtype(value); });
  command.add_option("--device", options->runtime.device, "cpu, cuda or cuda:N [cpu]")->type_name("DEVICE");
  return {&command, [options] { return inspect(*options); }};
}

}  // namespace eav
