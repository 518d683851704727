// The record beside every output: all that is needed to make the same video again, as JSON.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "eav/generator.h"

namespace [[gnu::visibility("default")]] eav {

struct Record {
  ModelPaths paths;
  std::string fingerprint;  // Generator::fingerprint
  Runtime runtime;          // as it was chosen: no "auto", no 0 threads
  Environment environment;
  Request request;                        // as Job::request() gives it
  std::string init_latents;               // fingerprint of the file request.init_latents; empty without one
  std::vector<std::string> conditions{};  // those of the files of its conditions
  // Options whose files a video's record names and that do not lie beside it: "model", "conditions", …; their paths are
  // those names.
  std::vector<std::string> missing{};
};

// The record of an output made by `generator`.
Record make_record(const Generator& generator, const Request& request);
// The record with the names of files and folders in the place of their paths, as it stands in a video, which people
// share. A snapshot in a hub's cache has the name of its model there, "models--ORG--NAME".
Record without_folders(Record record);
// The request of a record for a checkpoint: what this has no option for is left out where the record holds what was its
// default. (Records of older versions hold the options of every family.) Throws eav::Error at another value.
Request request_for(const Generator& generator, const Record& record);

// The record as JSON, with what the enhancement did; equal for equal videos. `seconds`, where given, is added.
std::string to_json(const Record& record, const Trace& trace, const Output::Seconds* seconds = nullptr);

// The trace as JSON: each entry is [step, layer, cfi, gain]. "heads" has the CFI of every head for each entry, and
// "maps", where the trace has them, the temporal attention map: base64 of T x T float16, little endian, row by row.
std::string to_json(const Trace& trace);

// Reads a trace that to_json() wrote. Throws eav::Error that names the file when it holds none, or is cut short.
Trace read_trace(const std::filesystem::path& file);
// The same of the text of such a file, which messages call `name`.
Trace parse_trace(std::string_view json, const std::filesystem::path& name);

// Reads the record in a .json file, or in the metadata of a .mp4 or .webm. Fields that are not there keep their
// defaults. A file that a video's record names without a folder is looked for beside the video, and nowhere else.
// Throws eav::Error when the file holds no record.
Record read_record(const std::filesystem::path& file);
// The same of the text of a .json file, which messages call `name`.
Record parse_record(std::string_view json, const std::filesystem::path& name);

// Where the surroundings of two records differ, so that the same request may not give the same bits: one line each.
std::vector<std::string> differences(const Record& then, const Record& now);

}  // namespace eav
