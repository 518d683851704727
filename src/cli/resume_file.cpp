#include "resume_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <system_error>

#include "eav/safetensors.h"

namespace eav {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr const char* kSuffix = ".resume";
constexpr const char* kRun = "eav_run";  // what the file's metadata calls it

Json video_json(const Record& record, const OutputFiles& files) {
  const auto absolute = [](const fs::path& path) { return path.empty() ? "" : fs::absolute(path).string(); };
  return {{"record", Json::parse(to_json(record, {}))},
          {"maps", record.request.enhance.maps},
          {"offload", record.runtime.offload},
          {"files",
           {{"video", absolute(files.video)},
            {"record", absolute(files.record)},
            {"latents", absolute(files.latents)},
            {"trace", absolute(files.trace)}}}};
}

std::string to_json(const Run& run) {
  Json json{{"next", run.next},
            {"overwrite", run.existing == Existing::replace},
            {"metadata", run.metadata},
            {"checkpoint_every", run.checkpoint_every},
            {"videos", Json::array()}};
  for (size_t i = 0; i < run.videos.size(); ++i) json["videos"].push_back(video_json(run.videos[i], run.files[i]));
  return json.dump();
}

// A file below the working directory by its relative name, as people read it.
fs::path from_here(const fs::path& file) {
  const auto relative = file.lexically_proximate(fs::current_path());
  return relative.empty() || *relative.begin() == ".." ? file : relative;
}

Run parse_run(const nlohmann::json& json, const fs::path& file) {
  Run run;
  run.next = json.at("next").get<size_t>();
  run.existing = json.at("overwrite").get<bool>() ? Existing::replace : Existing::refuse;
  run.metadata = json.at("metadata").get<bool>();
  run.checkpoint_every = json.at("checkpoint_every").get<double>();
  for (const auto& video : json.at("videos")) {
    auto& record = run.videos.emplace_back(parse_record(video.at("record").dump(), file));
    record.request.enhance.maps = video.at("maps").get<bool>();
    record.runtime.offload = video.at("offload").get<bool>();
    const auto path = [&](const char* name) { return from_here(video.at("files").at(name).get<std::string>()); };
    run.files.push_back({path("video"), path("record"), path("latents"), path("trace")});
  }
  return run;
}

}  // namespace

fs::path resume_file_of(const fs::path& output) {
  auto path = output.has_filename() ? output : output.parent_path();
  return path += kSuffix;
}

fs::path find_resume_file() {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator("."))
    if (entry.path().extension() == kSuffix) found.push_back(entry.path().filename().string());
  std::ranges::sort(found);
  if (found.empty()) throw Error(fmt::format("there is no unfinished run here: name its {} file", kSuffix));
  if (found.size() > 1)
    throw Error(fmt::format("there are several unfinished runs here, name one: {}", fmt::join(found, ", ")));
  return found[0];
}

Run read_run(const fs::path& file) {
  const auto no_run = [&](const std::string& why) {
    return Error(fmt::format("'{}' holds no unfinished run: {}", file.string(), why));
  };
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) throw no_run("there is no such file");
  std::map<std::string, std::string> metadata;
  Run run;
  try {
    run.state.tensors = read_safetensors(file, &metadata);
  } catch (const Error& error) {
    throw no_run(error.what());
  }
  if (!metadata.contains(kRun)) throw no_run("it is another .safetensors file");
  const auto tensors = std::move(run.state.tensors);
  try {
    run = parse_run(nlohmann::json::parse(metadata[kRun]), file);
  } catch (const nlohmann::json::exception&) {
    throw no_run("what it says about the run is incomplete");
  }
  if (run.next >= run.videos.size()) throw no_run("no video is left to be made");
  run.state.tensors = tensors;
  return run;
}

ResumeFile::ResumeFile(fs::path path, Run& run, const Generator& generator, TerminalProgress& progress)
    : path_(std::move(path)),
      run_(run),
      generator_(generator),
      progress_(progress),
      is_there_(run.next > 0 || !run.state.tensors.empty()) {}

void ResumeFile::keep(const SavedState& state) {
  run_.state = state;
  is_written_ = false;
  const std::chrono::duration<double> since = Clock::now() - written_;
  if (state.denoised() || since.count() >= run_.checkpoint_every) write();
}

void ResumeFile::finished() {
  ++run_.next;
  run_.state = {};
  if (run_.next < run_.videos.size()) return write();
  std::error_code ignored;
  fs::remove(path_, ignored);
  is_there_ = false;
}

void ResumeFile::stop() {
  if (is_there_ && !is_written_) write();
}

// A run goes on where its state cannot be written.
void ResumeFile::write() {
  for (auto& video : run_.videos) {
    const bool offload = video.runtime.offload;
    video.runtime = generator_.runtime();
    video.runtime.offload = offload;
  }
  try {
    prepare_safetensors(path_, run_.state.tensors, {{kRun, to_json(run_)}}).finish();
    is_there_ = is_written_ = true;
    written_ = Clock::now();
  } catch (const Error& error) {
    if (!warned_) progress_.warning(fmt::format("{}: what is done cannot be kept for --resume", error.what()));
    warned_ = true;
  }
}

}  // namespace eav
