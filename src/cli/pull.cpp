// eav pull: fetches a model from the hub.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "commands.h"
#include "eav/hub.h"
#include "eav/human.h"
#include "interrupt.h"
#include "printable.h"
#include "terminal.h"

namespace eav {
namespace {

// Bytes in the place of steps; a line for each file where nobody watches.
class PullProgress : public TerminalProgress {
 public:
  using TerminalProgress::TerminalProgress;

  void phase(std::string_view file) override {
    begins_ = true;
    TerminalProgress::phase(file);
  }
  void step(int64_t done, int64_t total) override {
    const auto now = std::chrono::steady_clock::now();
    if (!begins_) came_ += done - done_;  // what lay in the cache has not come
    done_ = done;
    begins_ = false;
    if (!watched() || total == 0 || now - drawn_at_ < kBetweenDrawings) return;
    drawn_at_ = now;
    TerminalProgress::step(done, total);
  }

 protected:
  // "1.2 GB of 9.8 GB, 34 MB/s, 4 min 10 s left: vae/diffusion_pytorch_model.safetensors (508 MB)"
  std::string state(int64_t done, int64_t total) const override {
    auto text = fmt::format("{} of {}", human_size(done), human_size(total));
    const std::chrono::duration<double> elapsed = drawn_at_ - start_;
    if (const auto speed = static_cast<double>(came_) / elapsed.count(); elapsed > kBeforeSpeed && speed >= 1)
      text += fmt::format(", {}/s, {} left", human_size(static_cast<int64_t>(speed)),
                          human_seconds(static_cast<double>(total - done) / speed));
    return fmt::format("{}: {}", text, printable(phase_name()));
  }

 private:
  static constexpr std::chrono::milliseconds kBetweenDrawings{100}, kBeforeSpeed{500};

  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now(), drawn_at_{};
  int64_t done_ = 0, came_ = 0;  // bytes, of all files
  bool begins_ = true;           // a file
};

void print_files(const std::string& name, const std::vector<RemoteFile>& files) {
  const auto repository = name.substr(0, name.find(':'));
  for (const auto& [path, size] : files) print_text("{:>9}  {}:{}\n", human_size(size), repository, path);
}

int pull_named(const Pull& wanted) {
  Interrupt interrupt;
  PullProgress progress(interrupt);
  try {
    const auto pulled = pull(wanted, progress);
    progress.clear();
    progress.line(fmt::format("{}: {} {}, {}, {} fetched", wanted.name, pulled.files,
                              pulled.files == 1 ? "file" : "files", human_size(pulled.bytes),
                              human_size(pulled.fetched)));
    print_text("{}\n", pulled.path.string());
    return 0;
  } catch (const SeveralFiles& several) {
    print_files(wanted.name, several.files());
    flush_stdout();  // before the line that asks for one of them
    throw;
  } catch (const Cancelled& stopped) {
    progress.clear();
    const auto revision = wanted.revision == Pull().revision ? "" : " --revision " + wanted.revision;
    print_error(fmt::format("{}; `eav pull {}{}` goes on", stopped.what(), wanted.name, revision));
    return interrupt.exit_code();
  }
}

}  // namespace

Command add_pull(CLI::App& program) {
  auto& command = *program.add_subcommand("pull", "Fetch a model from the hub (huggingface.co) into its cache");
  const auto wanted = std::make_shared<Pull>();
  command
      .add_option("NAME", wanted->name,
                  "Repository ORG/NAME: what eav reads of it; ORG/NAME:FILE or ORG/NAME:FOLDER for that alone")
      ->type_name("")
      ->required();
  command.add_option("--revision", wanted->revision, "Branch, tag or commit [main]")->type_name("REVISION");
  command.footer(
      "Files that are there are kept, one that is there in part is gone on with, and each is checked against the "
      "hub's\n"
      "checksum. Afterwards --model ORG/NAME opens it. Environment, as Python's huggingface_hub has it: HF_HUB_CACHE "
      "or\n"
      "HF_HOME (where the cache is), HF_TOKEN (for private and gated models), HF_ENDPOINT (another hub),\n"
      "HF_HUB_OFFLINE=1 (fetches nothing).");
  return {&command, [wanted] { return pull_named(*wanted); }};
}

}  // namespace eav
