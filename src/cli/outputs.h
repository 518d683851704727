// The files of `eav generate`: how they are named, checked, written and reported.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "eav/files.h"
#include "eav/record.h"
#include "terminal.h"

namespace eav {

// The files of one video; empty are those that nobody asked for.
struct OutputFiles {
  std::filesystem::path video, record, latents, trace;

  // What a person would call it: the video, or where there is none, the latents.
  const std::filesystem::path& main() const { return video.empty() ? latents : video; }
};

// Those of a video, or of latents alone where `video` is empty: the record has its place beside it. With an index, as
// of one among several: "red.mp4" becomes "red-002.mp4", "frames/" becomes "frames-002/".
OutputFiles name_files(const std::filesystem::path& video, const std::filesystem::path& latents,
                       const std::filesystem::path& trace, std::optional<size_t> index);

// Throws when a file could not be written, or when two of them are one.
void check_files(const std::vector<OutputFiles>& all, bool overwrite);

// Writes all files of a video, or none, with the record in its `metadata` too; returns the seconds that it took. None
// takes the place of another file unless `existing` says so.
double write(const OutputFiles& files, const Record& record, bool metadata, const Output& output, Existing existing,
             TerminalProgress& progress);

// The name that a video's record has for a model: that of its file or folder, or of its model in a hub's cache.
std::string name_of_model(const std::filesystem::path& model);

// Says on stdout what was made, and in which types.
void report(const OutputFiles& files, const Output& output, double write_seconds, const Runtime& runtime);

}  // namespace eav
