// eav generate: makes videos from prompts.
#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <map>
#include <optional>

#include "cli/commands.h"
#include "cli/demo.h"
#include "cli/files.h"
#include "cli/interrupt.h"
#include "cli/options.h"
#include "cli/prompts.h"
#include "cli/request_options.h"
#include "cli/terminal.h"
#include "eav/generator.h"
#include "enhance/summary.h"
#include "pipeline/record.h"
#include "video/writer.h"
#include "weights/safetensors.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  fs::path from, prompt_file, out, save_latents, trace;
  std::vector<Condition> conditions;
  bool overwrite = false, has_prompt = false;
  Changes changes;
};

// The files of one video; empty are those that nobody asked for.
struct Files {
  fs::path video, record, latents, trace;
};

// "clips/red.mp4" -> "clips/red-002.mp4", "frames/" -> "frames-002/"
fs::path numbered(const fs::path& path, size_t index) {
  if (path.empty()) return path;
  const auto suffix = fmt::format("-{:03}", index);
  if (!path.has_filename()) return path.parent_path().concat(suffix) / "";
  return path.parent_path() / path.stem().concat(suffix).concat(path.extension().string());
}

// The record's place: "red.mp4" -> "red.json", "frames/" -> "frames.json" beside the folder.
fs::path record_of(const fs::path& video) {
  if (output_kind(video) != OutputKind::frames) return fs::path(video).replace_extension(".json");
  auto folder = fs::absolute(video).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  return video.is_absolute() ? folder.concat(".json") : fs::proximate(folder.concat(".json"));
}

Files name_files(const GenerateOptions& options, const Request& request, std::optional<size_t> index) {
  const auto place = [&](const fs::path& path) { return index ? numbered(path, *index) : path; };
  if (request.latents_only) {
    const auto latents = place(options.save_latents);
    return {"", fs::path(latents).replace_extension(".json"), latents, place(options.trace)};
  }
  const auto video =
      place(options.out.empty() ? fs::path(fmt::format("eav-{}.mp4", *request.seed - index.value_or(0))) : options.out);
  return {video, record_of(video), place(options.save_latents), place(options.trace)};
}

// Throws when a file could not be written, or when two of them are one.
void check_files(const std::vector<Files>& all, bool overwrite) {
  std::map<fs::path, std::string> taken;
  const auto take = [&](const fs::path& path, const std::string& what) {
    if (path.empty()) return;
    const auto [other, is_new] = taken.emplace(fs::weakly_canonical(fs::absolute(path)), what);
    if (!is_new) throw Error(fmt::format("{} and {} would both be '{}'", other->second, what, path.string()));
  };
  for (const auto& files : all) {
    take(files.video, "the video");
    take(files.record, "the record beside the video");
    take(files.latents, "--save-latents");
    take(files.trace, "--trace");
    if (!files.video.empty()) check_output(files.video, overwrite);
    for (const auto& path : {files.record, files.latents, files.trace})
      if (!path.empty()) check_file(path, overwrite);
  }
}

// The requests of a run, every field set.
std::vector<Request> resolve(const Generator& generator, const Request& wanted,
                             const std::vector<std::string>& prompts) {
  std::vector<Request> requests;
  for (const auto& prompt : prompts) {
    Request request = wanted;
    request.prompt = prompt;
    if (!requests.empty()) request.seed = *requests[0].seed + requests.size();
    requests.push_back(generator.resolve(request));
    generator.check_complete(requests.back());
  }
  return requests;
}

uintmax_t size_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path)) bytes += entry.file_size();
  return bytes;
}

// Writes all files of a video, or none; returns the seconds that it took.
double write(const Files& files, const Record& record, const Output& output, TerminalProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  progress.phase("write");
  Unfinished unfinished;
  const auto write_text = [&](const fs::path& path, const std::string& text) {
    write_file(path, text);
    unfinished.add(path);
  };
  if (!files.latents.empty()) {
    save_safetensors(files.latents, {{"latents", output.latents}});
    unfinished.add(files.latents);
  }
  if (!files.trace.empty()) write_text(files.trace, to_json(output.trace));
  write_text(files.record, to_json(record, output.trace, &output.seconds));
  if (!files.video.empty())
    write_video(files.video, output.frames, *output.request.fps, to_json(record, output.trace), progress);
  unfinished.keep();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void report(const Files& files, const Output& output, double write_seconds) {
  const auto& [request, latents, frames, trace, seconds] = output;
  if (files.video.empty())
    fmt::print("{}: latents of {}, {}, seed {}\n", files.latents.string(), fmt::join(latents.sizes(), " x "),
               human_size(size_on_disk(files.latents)), *request.seed);
  else
    fmt::print("{}: {} frames of {}x{} at {} fps, {}, seed {}\n", files.video.string(), frames.size(0), frames.size(2),
               frames.size(1), *request.fps, human_size(size_on_disk(files.video)), *request.seed);
  fmt::print("time: text encoder {}, transformer {}, vae {}, write {}\n", human_seconds(seconds.text_encoder),
             human_seconds(seconds.transformer), human_seconds(seconds.vae), human_seconds(write_seconds));
  fmt::print("enhancement: {}\n", request.enhance.enabled ? describe(trace) : "off");
  std::fflush(stdout);
}

int generate(const GenerateOptions& options) {
  if (options.has_prompt && !options.prompt_file.empty()) throw Error("give a PROMPT or --prompt-file, not both");
  if (!options.has_prompt && options.prompt_file.empty() && options.from.empty())
    throw Error("there is nothing to generate: give a PROMPT, --prompt-file FILE or --from FILE");

  Interrupt interrupt;
  TerminalProgress progress(interrupt);
  const Record recorded = options.from.empty() ? Record{} : read_record(options.from);
  Record asked, wanted = recorded;
  for (const auto& change : options.changes) change(asked);
  if (!asked.paths.model.empty()) wanted.paths = {};
  // A size by name replaces the recorded one in pixels.
  if (asked.request.resolution || asked.request.aspect) wanted.request.width = wanted.request.height = std::nullopt;
  if (asked.request.length) wanted.request.frames = std::nullopt;
  for (const auto& change : options.changes) change(wanted);
  if (!options.conditions.empty()) wanted.request.conditions = options.conditions;
  const auto prompts = options.prompt_file.empty() ? std::vector{wanted.request.prompt}
                                                   : read_prompts("--prompt-file", options.prompt_file);
  auto paths = wanted.paths;
  if (paths.model.empty()) paths.model = demo_model();
  if (wanted.request.enhance.maps && options.trace.empty())
    throw Error("--trace-maps writes into the trace: name its file with --trace");
  if (wanted.request.latents_only && options.save_latents.empty())
    throw Error("--latents-only writes no video: name the file for the latents with --save-latents");
  if (wanted.request.latents_only && !options.out.empty())
    throw Error("--latents-only writes no video: leave --out out");

  Generator generator(paths, wanted.runtime);
  const auto requests = resolve(generator, wanted.request, prompts);
  std::vector<Files> files;
  for (size_t i = 0; i < requests.size(); ++i)
    files.push_back(name_files(options, requests[i], options.prompt_file.empty() ? std::nullopt : std::optional(i)));
  check_files(files, options.overwrite);
  if (!options.from.empty())
    for (const auto& difference : differences(recorded, make_record(paths, generator, requests[0])))
      progress.warning(difference);

  const auto& first = requests[0];
  const auto size = generator.video_size(first);
  progress.line(fmt::format("{}, {} frames of {}x{}, {} steps, seed {}", paths.model.filename().string(), size.frames,
                            size.width, size.height, *first.steps, *first.seed));
  size_t index = 0;
  const auto label_next = [&] {
    if (requests.size() > 1)
      progress.set_label(fmt::format("{}/{} ", std::min(index + 1, requests.size()), requests.size()));
  };
  label_next();
  try {
    generator.run(requests, progress, [&](Output&& output) {
      const double seconds = write(files[index], make_record(paths, generator, output.request), output, progress);
      progress.clear();
      report(files[index], output, seconds);
      ++index;
      label_next();
    });
  } catch (const Cancelled& stopped) {
    progress.clear();
    print_error(stopped.what());
    return interrupt.exit_code();
  }
  return 0;
}

// --image and --video in their order, and what belongs to the last of them.
void add_conditions(CLI::App& command, std::vector<Condition>& conditions) {
  const auto last = [&conditions](const char* option) -> Condition& {
    if (conditions.empty()) throw Error(fmt::format("{} belongs to the --image or --video before it", option));
    return conditions.back();
  };
  const auto begin = [&conditions](bool is_video) {
    return [&conditions, is_video](const std::string& file) {
      conditions.push_back({.file = file, .is_video = is_video, .frame_index = {}, .strength = {}});
    };
  };
  command.add_option_function<std::string>("--image", begin(false), "A picture that the video begins with or shows")
      ->type_name("FILE")
      ->trigger_on_parse();
  command.add_option_function<std::string>("--video", begin(true), "A video that is gone on with or shown")
      ->type_name("FILE")
      ->trigger_on_parse();
  command
      .add_option_function<std::string>(
          "--last-image",
          [&conditions](const std::string& file) {
            conditions.push_back({.file = file, .is_video = false, .frame_index = -1, .strength = {}});
          },
          "Open-Sora: a picture that the video ends with")
      ->type_name("FILE")
      ->trigger_on_parse();
  add_whole(command, "--frame-index", "LTX-Video 0.9.5: frame at which the --image or --video before it begins [0]", 0,
            std::numeric_limits<int32_t>::max(),
            [last](uint64_t v) { last("--frame-index").frame_index = static_cast<int64_t>(v); })
      ->trigger_on_parse();
  add_number(command, "--strength", "LTX-Video 0.9.5, Open-Sora: how closely the one before it is kept, 0 to 1 [1]", 0,
             1, [last](double v) { last("--strength").strength = v; })
      ->trigger_on_parse();
}

}  // namespace

Command add_generate(CLI::App& program) {
  auto& command = *program.add_subcommand("generate", "Generate a video from a prompt");
  const auto options = std::make_shared<GenerateOptions>();
  const ChangeOptions add{command, options->changes};
  command
      .add_option_function<std::string>(
          "PROMPT",
          [=](const std::string& prompt) {
            options->has_prompt = true;
            options->changes.push_back([=](Record& r) { r.request.prompt = prompt; });
          },
          "What the video shows, in quotes")
      ->type_name("");
  add_request_options(command, options->changes);
  command
      .add_option("--prompt-file", options->prompt_file,
                  "One prompt a line: line i has seed + i, and its files end in -000, -001, …")
      ->type_name("FILE");
  add_whole(command, "--seed", "Seed of the noise [drawn and printed]", 0, std::numeric_limits<uint64_t>::max(),
            add.change([](Record& r, uint64_t v) { r.request.seed = v; }));
  add_conditions(command, options->conditions);
  add_number(command, "--denoise-strength",
             "LTX-Video 0.9.5: part of the steps that changes --init-latents, 0 to 1 [1]", 0, 1,
             add.change([](Record& r, double v) { r.request.denoise_strength = v; }));
  command
      .add_option_function<std::string>(
          "--enhance-weight",
          [options](const std::string& value) {
            std::optional<double> weight;
            if (value != "auto") weight = parse_number("--enhance-weight", value, 0, 100);
            options->changes.push_back([weight](Record& r) {
              r.request.enhance.adaptive = !weight;
              if (weight) r.request.enhance.weight = weight;
            });
          },
          "Enhance-A-Video's temperature, or auto: by the video's CFI [CogVideoX 3.4, others 4]")
      ->type_name("N|auto");
  add.flag("--no-enhance", "Do not enhance", [](Record& r) { r.request.enhance.enabled = false; });
  add.flag("--enhance", "Enhance after all, with --from", [](Record& r) { r.request.enhance.enabled = true; });
  command
      .add_option("--out", options->out,
                  "A .mp4, .webm, .gif, or folder/ for PNG frames, and a .json beside it [eav-<seed>.mp4]")
      ->type_name("FILE");
  command.add_flag("--overwrite", options->overwrite, "Replace files that exist");
  add.text("--init-latents", "FILE", "Start from \"latents\" in this .safetensors file [noise of the seed]",
           [](Record& r, const std::string& v) { r.request.init_latents = v; });
  command.add_option("--save-latents", options->save_latents, "Write the final latents to this .safetensors file")
      ->type_name("FILE");
  add.flag("--latents-only", "Stop before the VAE: write what --save-latents names, and no video",
           [](Record& r) { r.request.latents_only = true; });
  command.add_option("--trace", options->trace, "Write CFI and gain of every step and layer to this .json file")
      ->type_name("FILE");
  add.flag("--trace-maps", "And the mean temporal attention map of each",
           [](Record& r) { r.request.enhance.maps = true; });
  command
      .add_option("--from", options->from, "Make a video again from its .json, .mp4 or .webm; other options change it")
      ->type_name("FILE");
  return {&command, [options] { return generate(*options); }};
}

}  // namespace eav
