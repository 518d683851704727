// eav generate: makes videos from prompts.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include "commands.h"
#include "eav/generator.h"
#include "eav/human.h"
#include "eav/prompts.h"
#include "eav/record.h"
#include "eav/safetensors.h"
#include "eav/trace.h"
#include "eav/video.h"
#include "errors.h"
#include "files.h"
#include "from.h"
#include "interrupt.h"
#include "printable.h"
#include "request_options.h"
#include "terminal.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  fs::path from, prompt_file, out, save_latents, trace;
  bool overwrite = false, no_metadata = false;
  AskedOptions asked;
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

// A job for each prompt.
std::vector<Job> open_jobs(const Generator& generator, const Request& wanted, const std::vector<std::string>& prompts) {
  std::vector<Job> jobs;
  std::optional<uint64_t> first_seed;
  for (const auto& prompt : prompts) {
    Request request = wanted;
    request.prompt = prompt;
    if (first_seed) request.seed = *first_seed + jobs.size();
    jobs.push_back(generator.open(request));
    jobs.back().check_complete();
    first_seed = first_seed.value_or(*jobs[0].request().seed);
  }
  return jobs;
}

uintmax_t size_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path)) bytes += entry.file_size();
  return bytes;
}

// Writes all files of a video, or none; returns the seconds that it took.
double write(const Files& files, const Record& record, bool no_metadata, const Output& output,
             TerminalProgress& progress) {
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
    write_video(files.video, output.frames, *output.request.fps,
                no_metadata ? "" : to_json(without_folders(record), output.trace), progress);
  unfinished.keep();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void report(const Files& files, const Output& output, double write_seconds) {
  const auto& [request, latents, frames, trace, seconds] = output;
  if (files.video.empty())
    print_text("{}: latents of {}, {}, seed {}\n", files.latents.string(), fmt::join(latents.sizes(), " x "),
               human_size(static_cast<int64_t>(size_on_disk(files.latents))), *request.seed);
  else
    print_text("{}: {} frames of {}x{} at {} fps, {}, seed {}\n", files.video.string(), frames.size(0), frames.size(2),
               frames.size(1), *request.fps, human_size(static_cast<int64_t>(size_on_disk(files.video))),
               *request.seed);
  print_text("time: text encoder {}, transformer {}, vae {}, write {}\n", human_seconds(seconds.text_encoder),
             human_seconds(seconds.transformer), human_seconds(seconds.vae), human_seconds(write_seconds));
  print_text("enhancement: {}\n", request.enhance.enabled ? with_flags(describe(trace)) : "off");
  flush_stdout();
}

int generate(const GenerateOptions& options) {
  auto asked = options.asked;
  const bool has_prompt = asked.settings.contains("prompt");
  if (has_prompt && !options.prompt_file.empty()) throw Error("give a PROMPT or --prompt-file, not both");
  if (!has_prompt && options.prompt_file.empty() && options.from.empty())
    throw Error("there is nothing to generate: give a PROMPT, --prompt-file FILE or --from FILE");

  Interrupt interrupt;
  TerminalProgress progress(interrupt);
  const Record recorded = options.from.empty() ? Record{} : read_from(options.from, asked);
  Generator generator(asked.paths_over(recorded.paths), asked.runtime_over(recorded.runtime));
  const auto wanted = asked.over(request_for(generator, recorded));
  if (wanted.enhance.maps && options.trace.empty())
    throw Error("--trace-maps writes into the trace: name its file with --trace");
  if (wanted.latents_only && options.save_latents.empty())
    throw Error("--latents-only writes no video: name the file for the latents with --save-latents");
  if (wanted.latents_only && !options.out.empty()) throw Error("--latents-only writes no video: leave --out out");

  const auto jobs = open_jobs(generator, wanted,
                              options.prompt_file.empty() ? std::vector{wanted.prompt} : naming("--prompt-file ", [&] {
                                return read_prompts(options.prompt_file);
                              }));
  std::vector<Files> files;
  for (size_t i = 0; i < jobs.size(); ++i)
    files.push_back(
        name_files(options, jobs[i].request(), options.prompt_file.empty() ? std::nullopt : std::optional(i)));
  check_files(files, options.overwrite);
  if (!options.from.empty())
    for (const auto& difference : differences(recorded, make_record(generator, jobs[0].request())))
      progress.warning(difference);

  const auto first = jobs[0].request();
  const auto size = jobs[0].video_size();
  progress.line(fmt::format("{}, {} frames of {}x{}, {} steps, seed {}", generator.paths().model.filename().string(),
                            size.frames, size.width, size.height, *first.steps, *first.seed));
  size_t index = 0;
  const auto label_next = [&] {
    if (jobs.size() > 1) progress.set_label(fmt::format("{}/{} ", std::min(index + 1, jobs.size()), jobs.size()));
  };
  label_next();
  try {
    generator.run(jobs, progress, [&](Output&& output) {
      const double seconds =
          write(files[index], make_record(generator, output.request), options.no_metadata, output, progress);
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

}  // namespace

Command add_generate(CLI::App& program) {
  auto& command = *program.add_subcommand("generate", "Generate a video from a prompt");
  const auto options = std::make_shared<GenerateOptions>();
  const auto path = [&](const char* name, fs::path& to, const char* help) {
    command.add_option(name, to, help)->type_name("FILE");
  };
  command
      .add_option_function<std::string>(
          "PROMPT", [=](const std::string& prompt) { options->asked.settings["prompt"] = prompt; },
          "What the video shows, in quotes")
      ->type_name("");
  path("--prompt-file", options->prompt_file,
       "Text file with one prompt a line: line i has seed + i, and its files end in -000, -001, …");
  path("--out", options->out,
       "Video to write: .mp4, .webm, .gif, or folder/ of PNG; a .json beside it [eav-<seed>.mp4]");
  command.add_flag("--overwrite", options->overwrite, "Replace files that exist");
  command.add_flag("--no-metadata", options->no_metadata,
                   "Leave out of an .mp4 or .webm how it was made: the .json beside it alone says so");
  path("--save-latents", options->save_latents, "Write the final latents to this .safetensors file");
  path("--trace", options->trace, "Write CFI and gain of every step and layer to this .json file");
  command.add_flag_callback(
      "--trace-maps,--enhance-maps", [=] { options->asked.settings["enhance_maps"] = true; },
      "Write the mean temporal attention map of every step and layer into the trace too");
  path("--from", options->from, "Make a video again from its .json, .mp4 or .webm; other options change it");
  add_request_options(command, options->asked, {"prompt", "enhance_maps"});
  return {&command, [options] { return generate(*options); }};
}

}  // namespace eav
