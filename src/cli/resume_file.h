// The state of an unfinished `eav generate`, in a file beside its output, from which --resume goes on.
#pragma once
#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "eav/record.h"
#include "eav/saved_state.h"
#include "outputs.h"
#include "terminal.h"

namespace eav {

// All that `eav generate` has to make.
struct Run {
  std::vector<Record> videos = {};      // what makes each
  std::vector<OutputFiles> files = {};  // of each
  size_t next = 0;                      // the video that is being made; those before it are there
  Existing existing = Existing::refuse;
  bool metadata = true;          // in the videos
  double checkpoint_every = 30;  // seconds
  SavedState state = {};         // of the next video; empty where it has none yet
};

// Where the state of a run lies whose first output this is: "red.mp4.resume", "frames.resume".
std::filesystem::path resume_file_of(const std::filesystem::path& output);
// The only state in the working directory. Throws eav::Error where there is none, or more than one.
std::filesystem::path find_resume_file();
// Throws eav::Error where the file holds no state of a run.
Run read_run(const std::filesystem::path& file);

// Keeps a run while it works.
class ResumeFile {
 public:
  ResumeFile(std::filesystem::path path, Run& run, const Generator& generator, TerminalProgress& progress);

  // Takes the state of the next video, and writes it when its time has come: so many seconds after the last time, and
  // when all steps are done.
  void keep(const SavedState& state);
  // The next video is there: the state is about the one after it, or gone after the last one.
  void finished();
  // The run ends early: of a state that is on disk, the newest one is kept.
  void stop();

  // Whether there is something to go on from.
  bool is_there() const { return is_there_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  using Clock = std::chrono::steady_clock;
  void write();

  std::filesystem::path path_;
  Run& run_;
  const Generator& generator_;
  TerminalProgress& progress_;
  Clock::time_point written_ = Clock::now();
  bool is_there_ = false, is_written_ = true, warned_ = false;
};

}  // namespace eav
