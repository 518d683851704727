#include "outputs.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <chrono>
#include <map>

#include "eav/human.h"
#include "eav/safetensors.h"
#include "eav/trace.h"
#include "eav/video.h"
#include "files.h"
#include "printable.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

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

// Of a folder, that of the files which lie in it.
uintmax_t size_on_disk(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::file_size(path);
  uintmax_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(path))
    if (entry.is_regular_file()) bytes += entry.file_size();
  return bytes;
}

}  // namespace

OutputFiles name_files(const fs::path& video, const fs::path& latents, const fs::path& trace,
                       std::optional<size_t> index) {
  const auto place = [&](const fs::path& path) { return index ? numbered(path, *index) : path; };
  OutputFiles files{place(video), "", place(latents), place(trace)};
  files.record = video.empty() ? fs::path(files.latents).replace_extension(".json") : record_of(files.video);
  return files;
}

void check_files(const std::vector<OutputFiles>& all, bool overwrite) {
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

double write(const OutputFiles& files, const Record& record, bool metadata, const Output& output, Existing existing,
             TerminalProgress& progress) {
  const auto start = std::chrono::steady_clock::now();
  progress.phase("write");
  std::vector<Temporary> parts;
  if (!files.latents.empty()) parts.push_back(prepare_safetensors(files.latents, {{"latents", output.latents}}));
  if (!files.trace.empty()) parts.push_back(prepare_file(files.trace, to_json(output.trace)));
  parts.push_back(prepare_file(files.record, to_json(record, output.trace, &output.seconds)));
  if (!files.video.empty())
    parts.push_back(prepare_video(files.video, output.frames, *output.request.fps,
                                  metadata ? to_json(without_folders(record), output.trace) : "", progress));
  for (const auto& part : parts) part.finish(existing);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string name_of_model(const fs::path& model) {
  Record named;
  named.paths.model = fs::absolute(model).lexically_normal();
  return without_folders(std::move(named)).paths.model.string();
}

void report(const OutputFiles& files, const Output& output, double write_seconds, const Runtime& runtime) {
  const auto& [request, latents, frames, trace, seconds] = output;
  if (files.video.empty())
    print_text("{}: latents of {}, {}, seed {}\n", files.latents.string(), fmt::join(latents.sizes(), " x "),
               human_size(static_cast<int64_t>(size_on_disk(files.latents))), *request.seed);
  else
    print_text("{}: {} frames of {}x{} at {} fps, {}, seed {}\n", files.video.string(), frames.size(0), frames.size(2),
               frames.size(1), *request.fps, human_size(static_cast<int64_t>(size_on_disk(files.video))),
               *request.seed);
  const auto quantize = quantize_of(runtime);
  print_text("time: text encoder {}, transformer {}, vae {}, write {}; in {}{}\n", human_seconds(seconds.text_encoder),
             human_seconds(seconds.transformer), human_seconds(seconds.vae), human_seconds(write_seconds),
             dtypes_of(runtime), quantize == "none" ? "" : ", blocks in " + quantize);
  if (const auto cache = request.settings.find("cache");
      cache != request.settings.end() && cache->second != Value(std::string("none")))
    print_text("cache: {}, {} of {} steps computed\n", to_string(cache->second), trace.computed_steps(), trace.steps);
  print_text("enhancement: {}\n", request.enhance.enabled ? with_flags(describe(trace)) : "off");
  flush_stdout();
}

}  // namespace eav
