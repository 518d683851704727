// eav inspect: shows what a checkpoint holds and needs.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "commands.h"
#include "eav/generator.h"
#include "eav/hub.h"
#include "eav/human.h"
#include "printable.h"
#include "request_options.h"
#include "terminal.h"

namespace eav {
namespace {

// "7.3 M"
std::string human_count(int64_t count) {
  const auto value = static_cast<double>(count);
  if (value < 1e3) return fmt::format("{}", count);
  if (value < 1e6) return fmt::format("{:.1f} k", value / 1e3);
  if (value < 1e9) return fmt::format("{:.1f} M", value / 1e6);
  return fmt::format("{:.2f} B", value / 1e9);
}

std::string stored_types(const PartInfo& part) {
  if (part.dtypes.size() == 1) return part.dtypes[0].first;
  std::string text;
  for (const auto& [type, parameters] : part.dtypes)
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", human_count(parameters), type);
  return text;
}

void print_lora(const std::filesystem::path& file, const LoraInfo& lora) {
  print_text("LoRA, {}\n\n", file.string());
  constexpr const char* kLine = "  {:<16}{}\n";
  print_text(kLine, "form", lora.form);
  print_text(kLine, "names as of", lora.writer);
  if (!lora.made_for.empty()) print_text(kLine, "made for", lora.made_for);
  print_text(kLine, "layers", lora.layers);
  if (lora.rank_most > 0)
    print_text(kLine, "rank",
               lora.rank_least == lora.rank_most ? fmt::format("{}", lora.rank_most)
                                                 : fmt::format("{} to {}", lora.rank_least, lora.rank_most));
  print_text(kLine, "parameters", human_count(lora.parameters));
}

void print_parts(const std::vector<PartInfo>& parts) {
  constexpr const char* kPart = "  {:<16}{:<32}{:>12}{:>12}  {}\n";
  print_text(kPart, "part", "class", "parameters", "on disk", "stored as");
  for (const auto& part : parts)
    part.parameters > 0 ? print_text(kPart, part.name, part.kind, human_count(part.parameters), human_size(part.bytes),
                                     stored_types(part))
                        : print_text(kPart, part.name, part.kind, "-", "-", "-");
}

// Whether a file is given without other parts, which it may need.
bool is_alone(const ModelPaths& paths) {
  if (!std::filesystem::is_regular_file(paths.model)) return false;
  return std::ranges::all_of(ModelPaths::members(), [&](const auto& member) {
    return member.second == &ModelPaths::model || (paths.*member.second).empty();
  });
}

// A file by itself: what it holds, and what it needs beside.
int inspect_alone(const std::filesystem::path& file) {
  if (const auto lora = file.extension() == ".safetensors" ? inspect_lora(file) : std::nullopt) {
    print_lora(file, *lora);
    return 0;
  }
  const auto inspection = inspect_file(file);
  print_text("{}\n\n", file.string());
  for (const auto& part : inspection.parts)
    print_text("  {}: {}, {} parameters, {} on disk, stored as {}\n", part.name, part.kind,
               human_count(part.parameters), human_size(part.bytes), stored_types(part));
  if (!inspection.needs.empty()) print_text("\na video needs beside it\n");
  for (const auto& need : inspection.needs) print_text("  {}\n", with_flags(need));
  return 0;
}

int inspect(AskedOptions asked) {
  asked.paths.model = resolve_model_path(asked.paths.model);
  if (const auto& path = asked.paths.model;
      path.extension() == ".safetensors" && std::filesystem::is_regular_file(path))
    if (const auto lora = inspect_lora(path)) {
      print_lora(path, *lora);
      return 0;
    }
  if (is_alone(asked.paths)) return inspect_alone(asked.paths.model);
  const Generator generator(asked.paths_over({}), asked.runtime_over({}));
  const auto inspection = generator.inspect();
  const auto job = generator.open(asked.over({}));
  const auto request = job.request();
  const auto plan = job.plan();
  const auto grid = job.grid();

  print_text("{}, {}\n\n", inspection.family, generator.paths().model.string());
  print_parts(inspection.parts);

  if (const auto note = generator.note(); !note.empty()) fmt::print("  {}\n", with_flags(note));
  for (const auto& note : generator.lora_notes()) print_text("  {}\n", note);

  const auto video = job.video_size();
  const auto quantize = quantize_of(generator.runtime());
  print_text("\nmemory for {} frames of {}x{} in {}{} on {}\n", video.frames, video.width, video.height,
             to_string(plan.dtype), quantize == "none" ? "" : " with " + quantize, generator.runtime().device);
  constexpr const char* kPhase = "  {:<16}{:>12}{:>14}{:>12}\n";
  print_text(kPhase, "phase", "weights", "activations", "together");
  const auto print_phase = [&](const char* name, const MemoryPlan::Phase& phase) {
    print_text(kPhase, name, human_size(phase.weights), human_size(phase.activations), human_size(phase.total()));
  };
  print_phase("text encoder", plan.text_encoder);
  print_phase("transformer", plan.transformer);
  if (plan.vae) print_phase("vae", *plan.vae);
  print_text("  one phase follows another: a run needs {}\n", human_size(plan.peak()));

  print_text("\nenhancement\n  {}\n  weight {} unless --enhance-weight says otherwise\n", inspection.enhanced_layers,
             *request.enhance.weight);
  print_text("  {} token frames (T) of {} positions (S): a layer is scaled where CFI > 1 / (T + weight) = {:.3f}\n",
             grid.frames, grid.positions, 1 / (static_cast<double>(grid.frames) + *request.enhance.weight));
  return 0;
}

}  // namespace

Command add_inspect(CLI::App& program) {
  auto& command = *program.add_subcommand("inspect", "Show what a checkpoint holds, and the memory that a size needs");
  const auto asked = std::make_shared<AskedOptions>();
  command
      .add_option("PATH", asked->paths.model,
                  "Checkpoint, single file of weights, or pulled ORG/NAME[:FILE] [the demo of eav]")
      ->type_name("");
  add_request_options(command, *asked, {"prompt", "enhance_maps"});
  return {&command, [asked] { return inspect(*asked); }};
}

}  // namespace eav
