// eav generate: makes videos from prompts.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <set>
#include <span>

#include "commands.h"
#include "eav/generator.h"
#include "eav/prompts.h"
#include "eav/record.h"
#include "errors.h"
#include "from.h"
#include "interrupt.h"
#include "options.h"
#include "outputs.h"
#include "preview_file.h"
#include "request_options.h"
#include "resume_file.h"
#include "terminal.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

struct GenerateOptions {
  fs::path from, prompt_file, out, save_latents, trace, preview;
  double preview_every = 2;  // seconds
  bool overwrite = false, no_metadata = false, force = false;
  double checkpoint_every = 30;
  std::optional<fs::path> resume;  // empty: the only one here
  AskedOptions asked;
};

// Throws where more is asked for than a run that goes on can take.
void check_alone(const CLI::App& command) {
  static const std::set<std::string> taken{"--resume", "--vae-tiling", "--force"};
  for (const auto* option : command.get_options())
    if (option->count() > 0 && !taken.contains(option->get_name()))
      throw Error(fmt::format("{} cannot be given with --resume: a run goes on as it was begun", option->get_name()));
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

// What is to be made, of the command line.
Run new_run(const GenerateOptions& options, const Generator& generator, const std::vector<Job>& jobs) {
  Run run{.existing = options.overwrite ? Existing::replace : Existing::refuse,
          .metadata = !options.no_metadata,
          .checkpoint_every = options.checkpoint_every};
  for (size_t i = 0; i < jobs.size(); ++i) {
    const auto request = jobs[i].request();
    const auto named = fs::path(fmt::format("eav-{}.mp4", *request.seed - i));
    const auto video = request.latents_only ? fs::path() : options.out.empty() ? named : options.out;
    run.files.push_back(name_files(video, options.save_latents, options.trace,
                                   options.prompt_file.empty() ? std::nullopt : std::optional(i)));
    run.videos.push_back(make_record(generator, request));
  }
  return run;
}

// The state of a run whose first video is named so, before it is numbered.
fs::path resume_file(const GenerateOptions& options, const Run& run) {
  if (options.prompt_file.empty()) return resume_file_of(run.files[0].main());
  return resume_file_of(!options.out.empty()         ? options.out
                        : run.files[0].video.empty() ? options.save_latents
                                                     : run.files[0].video);
}

// Makes the videos of a run that are not there yet.
int make(const fs::path& resume_file, Run& run, Generator& generator, std::span<const Job> jobs,
         const Interrupt& interrupt, TerminalProgress& progress, const Preview& preview = {}) {
  const auto label_next = [&] {
    const auto count = run.videos.size();
    if (count > 1) progress.set_label(fmt::format("{}/{} ", std::min(run.next + 1, count), count));
  };
  label_next();
  ResumeFile kept(resume_file, run, generator, progress);
  const auto go_on = [&](const char* more) {
    return kept.is_there() ? fmt::format("; `eav generate --resume {}{}` goes on", kept.path().string(), more) : "";
  };
  Saving saving{.keep = [&](const SavedState& state) { kept.keep(state); }};
  if (!run.state.tensors.empty()) saving.from = run.state;
  std::vector<size_t> without_video;  // numbers of prompts, from 1
  const auto note_failure = [&](const Error& error) {
    kept.finished();  // its state leads to nothing
    if (run.videos.size() == 1) throw error;
    progress.clear();
    without_video.push_back(run.next);
    print_error(fmt::format("prompt {}: {}", run.next, error.what()));
    label_next();
  };
  // A run that was stopped while it renamed its files finds them there.
  const auto renamed = run.state.denoised() ? std::optional(run.next) : std::nullopt;
  try {
    generator.run(
        jobs, progress,
        [&](Output&& output) {
          const auto& files = run.files[run.next];
          const auto existing = renamed == run.next ? Existing::replace : run.existing;
          const double seconds =
              write(files, make_record(generator, output.request), run.metadata, output, existing, progress);
          progress.clear();
          report(files, output, seconds, generator.runtime());
          kept.finished();
          label_next();
        },
        note_failure, saving, preview);
  } catch (const Cancelled& stopped) {
    kept.stop();
    progress.clear();
    print_error(stopped.what() + go_on(""));
    return interrupt.exit_code();
  } catch (const OutOfMemory& error) {
    kept.stop();
    throw Error(error.what() + go_on(run.state.denoised() ? " --vae-tiling on" : ""));
  } catch (const Error& error) {
    kept.stop();
    throw Error(error.option(), error.what() + go_on(""));
  }
  if (!without_video.empty())
    throw Error(fmt::format("{} of {} videos were not made: those of the prompts {}", without_video.size(),
                            run.videos.size(), fmt::join(without_video, ", ")));
  return 0;
}

void announce(const Generator& generator, const Job& job, TerminalProgress& progress) {
  const auto request = job.request();
  const auto size = job.video_size();
  progress.line(fmt::format("{}, {} frames of {}x{}, {} steps, seed {}", name_of_model(generator.paths().model),
                            size.frames, size.width, size.height, *request.steps, *request.seed));
  if (const auto note = generator.note(); !note.empty()) progress.line(with_flags(note));
  for (const auto& note : generator.lora_notes()) progress.line(note);
}

// Goes on with a run that ended early.
int resume(const GenerateOptions& options) {
  Interrupt interrupt;
  TerminalProgress progress(interrupt);
  const auto file = options.resume->empty() ? find_resume_file() : *options.resume;
  auto run = read_run(file);
  const auto& first = run.videos[run.next];
  Generator generator(first.paths, first.runtime);
  std::vector<Job> jobs;
  for (size_t i = run.next; i < run.videos.size(); ++i) {
    auto request = run.videos[i].request;
    if (const auto tiling = options.asked.settings.find("vae_tiling"); tiling != options.asked.settings.end())
      request.set("vae_tiling", tiling->second);
    jobs.push_back(generator.open(request));
    jobs.back().check_complete();
  }
  const auto changed = differences(first, make_record(generator, jobs[0].request()));
  for (const auto& difference : changed) progress.warning(difference);
  if (!changed.empty() && !options.force)
    throw Error("this would not be the video that was begun: restore what differs, or go on all the same with --force");
  for (const auto& files : run.files) remove_left_over(target_of(files.main()).parent_path());
  const auto unwritten = static_cast<std::ptrdiff_t>(run.next + (run.state.denoised() ? 1 : 0));
  check_files({run.files.begin() + unwritten, run.files.end()}, run.existing == Existing::replace);
  announce(generator, jobs[0], progress);
  return make(file, run, generator, jobs, interrupt, progress);
}

int generate(const GenerateOptions& options) {
  if (options.resume) return resume(options);
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
  auto run = new_run(options, generator, jobs);
  check_files(run.files, options.overwrite);
  if (!options.preview.empty()) check_preview(options.preview, run.files, options.overwrite);
  const auto state = resume_file(options, run);
  if (fs::exists(state) && !options.overwrite)
    throw Error(fmt::format("'{0}' holds an unfinished run: go on with `eav generate --resume {0}`, or --overwrite it",
                            state.string()));
  if (!options.from.empty())
    for (const auto& difference : differences(recorded, run.videos[0])) progress.warning(difference);
  announce(generator, jobs[0], progress);
  return make(state, run, generator, jobs, interrupt, progress,
              options.preview.empty() ? Preview{} : preview_to(options.preview, options.preview_every, progress));
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
  path("--preview", options->preview, "Show the video while it is denoised, in this .png (its middle) or .gif file");
  add_number(command, "--preview-every", "Seconds between two previews, at least; 0: after each step [2]", 0, 86400,
             [=](double seconds) { options->preview_every = seconds; });
  command.add_flag_callback(
      "--trace-maps,--enhance-maps", [=] { options->asked.settings["enhance_maps"] = true; },
      "Write the mean temporal attention map of every step and layer into the trace too");
  path("--from", options->from, "Make a video again from its .json, .mp4 or .webm; other options change it");
  command.add_flag("--no-lora", options->asked.without_loras, "Leave the LoRAs out that --from tells of");
  add_number(command, "--checkpoint-every",
             "Seconds between the times that a run's state is kept in OUT.resume; 0: each step [30]", 0, 86400,
             [=](double seconds) { options->checkpoint_every = seconds; });
  command
      .add_option_function<std::vector<std::string>>(
          "--resume",
          [=](const std::vector<std::string>& file) {
            options->resume = file.empty() ? fs::path() : fs::path(file[0]);
          },
          "Go on with a stopped run, from its .resume file; options beside: --vae-tiling, --force")
      ->expected(0, 1)
      ->type_name("[FILE]");
  command.add_flag("--force", options->force, "With --resume: go on though the model or the machine has changed");
  add_request_options(command, options->asked, {"prompt", "enhance_maps"});
  return {&command, [options, &command] {
            if (options->resume) check_alone(command);
            return generate(*options);
          }};
}

}  // namespace eav
