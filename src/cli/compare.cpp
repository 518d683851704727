// eav compare: videos with and without the enhancement, measured side by side.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "commands.h"
#include "eav/comparison.h"
#include "eav/memory.h"
#include "eav/prompts.h"
#include "eav/video.h"
#include "errors.h"
#include "files.h"
#include "interrupt.h"
#include "options.h"
#include "printable.h"
#include "request_options.h"
#include "terminal.h"

namespace eav {
namespace {

namespace fs = std::filesystem;

// A process that another one started for its part of a comparison: every `count`-th pair, from `number` on.
struct Worker {
  size_t number, count;
  pid_t parent;
};

constexpr int64_t kMostJobs = 256;

// "1/2/4711": number, count and parent, as start_worker() writes them.
Worker parse_worker(const std::string& text) {
  std::istringstream in(text);
  int64_t number = 0, count = 0;
  pid_t parent = 0;
  std::array<char, 2> slashes{};
  in >> number >> slashes[0] >> count >> slashes[1] >> parent;
  if (!in || in.peek() != EOF || slashes != std::array{'/', '/'} || count < 1 || count > kMostJobs || number < 0 ||
      number >= count)
    throw CLI::ValidationError(
        "--worker", fmt::format("'{}' does not work: this program alone gives it, to processes that it starts", text));
  return {static_cast<size_t>(number), static_cast<size_t>(count), parent};
}

// This process ends when its parent does, however that ends.
void end_with(pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) throw Cancelled();  // it ended before it could be followed
}

struct CompareOptions {
  AskedOptions asked;
  fs::path prompts, out;
  int64_t seeds = 1, jobs = 0;
  uint64_t first_seed = 1;
  std::string weights, primary = "temporal_ssim";
  bool resume = false;
  std::optional<Worker> worker;
};

std::vector<Variant> parse_variants(const std::string& list) {
  std::vector<Variant> variants{{"none"}};
  for (const auto& name : split(list)) {
    const auto variant = Variant::parse(name);
    if (std::ranges::find(variants, variant) == variants.end()) variants.push_back(variant);
  }
  return variants;
}

// One process's part of a comparison.
class Comparison {
 public:
  Comparison(const CompareOptions& options, Interrupt& interrupt) : options_(options), interrupt_(interrupt) {
    wanted_ = options.asked.over({});
  }

  int run() {
    folder_.folder = options_.out;
    auto runtime = options_.asked.runtime_over({});
    if (options_.worker && runtime.threads == 0) runtime.threads = threads_of(options_.worker->count);
    Generator generator(options_.asked.paths_over({}), runtime);
    plan_ = make_plan(generator);
    prepare_folder();
    const auto left = unfinished();
    const auto jobs = options_.worker ? 1 : std::min(jobs_that_fit(generator), std::max<size_t>(left.size(), 1));
    if (options_.worker || jobs == 1) {
      make(generator, left);
      return options_.worker ? 0 : finish();
    }
    return work_side_by_side(jobs);
  }

 private:
  static int threads_of(size_t jobs) {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency() / jobs));
  }

  ComparisonPlan make_plan(const Generator& generator) const {
    ComparisonPlan plan{naming("--prompts ", [&] { return read_prompts(options_.prompts); }),
                        options_.seeds,
                        options_.first_seed,
                        {},
                        options_.primary,
                        {}};
    auto request = wanted_;
    request.prompt = plan.prompts[0];
    request.seed = plan.first_seed;
    const auto job = generator.open(request);
    const auto resolved = job.request();
    plan.variants =
        parse_variants(options_.weights.empty() ? fmt::format("{},auto", *resolved.enhance.weight) : options_.weights);
    if (*resolved.frames < 2 || job.grid().frames < 2)
      throw Error("the enhancement works between frames: give more --frames");
    naming("--primary ", [&] { measure_named(plan.primary); });
    plan.settings = shared_settings(make_record(generator, resolved));
    return plan;
  }

  void prepare_folder() {
    if (options_.worker) return;
    const bool there = fs::exists(folder_.plan());
    if (there && !options_.resume)
      throw Error(fmt::format("'{}' holds a comparison; --resume it, or choose another --out", options_.out.string()));
    if (there) {
      if (read_plan(folder_.plan()) != plan_)
        throw Error(
            fmt::format("'{}' was begun with other prompts, seeds, weights, settings or another program: give "
                        "the same again, or choose another --out",
                        folder_.plan().string()));
      return;
    }
    std::error_code error;
    fs::create_directories(folder_.folder / "pairs", error);
    fs::create_directories(folder_.folder / "videos", error);
    if (error) throw Error(fmt::format("cannot write '{}': {}", options_.out.string(), error.message()));
    write_file(folder_.plan(), to_json(plan_));
  }

  // Pairs that are this process's and not yet measured.
  std::vector<size_t> unfinished() const {
    std::vector<size_t> left;
    for (size_t i = 0; i < plan_.pair_count(); ++i)
      if ((!options_.worker || i % options_.worker->count == options_.worker->number) &&
          !fs::exists(folder_.samples(i)))
        left.push_back(i);
    return left;
  }

  std::vector<Job> jobs_of(const Generator& generator, const std::vector<size_t>& pairs) const {
    const auto all = plan_.pairs();
    std::vector<Job> jobs;
    for (const auto pair : pairs)
      for (const auto& variant : plan_.variants) {
        auto request = wanted_;
        request.prompt = plan_.prompts[all[pair].prompt];
        request.seed = all[pair].seed;
        variant.apply(request.enhance);
        jobs.push_back(generator.open(request));
      }
    return jobs;
  }

  // As many as memory holds side by side, a thread each at least.
  size_t jobs_that_fit(const Generator& generator) const {
    const auto cores = std::max(1u, std::thread::hardware_concurrency());
    if (options_.jobs > 0) return static_cast<size_t>(options_.jobs);
    const auto runtime = options_.asked.runtime_over({});
    if (runtime.device != "cpu" || runtime.threads > 0) return 1;
    const auto need = std::max<int64_t>(1, jobs_of(generator, {0})[0].plan().peak());
    return static_cast<size_t>(std::clamp<int64_t>(available_memory("cpu") / need, 1, cores));
  }

  void make(Generator& generator, const std::vector<size_t>& pairs) {
    const auto wanted = jobs_of(generator, pairs);
    if (wanted.empty()) return;
    TerminalProgress shown(interrupt_);
    Silent silent(interrupt_);
    Progress& progress = options_.worker ? static_cast<Progress&>(silent) : shown;
    const auto variants = plan_.variants.size();
    size_t done = 0;
    const auto label = [&] {
      shown.set_label(fmt::format("{}/{} ", std::min(done + 1, wanted.size()), wanted.size()));
    };
    label();
    PairSamples samples;
    const auto end_video = [&](size_t pair) {
      if (++done % variants == 0)
        if (const auto of_pair = std::exchange(samples, {}); of_pair.size() == variants)
          write_file(folder_.samples(pair), to_json(of_pair));
      label();
    };
    generator.run(
        wanted, progress,
        [&](Output&& output) {
          const auto pair = pairs[done / variants];
          const auto& variant = plan_.variants[done % variants];
          samples[variant.name] = sample_of(output);
          write_video(folder_.video(pair, variant), output.frames, *output.request.fps,
                      to_json(without_folders(make_record(generator, output.request)), output.trace), progress);
          end_video(pair);
        },
        [&](const Error& error) {
          const auto pair = pairs[done / variants];
          shown.clear();
          print_error(
              fmt::format("{}: {}", folder_.video(pair, plan_.variants[done % variants]).string(), error.what()));
          end_video(pair);
        });
  }

  static Sample sample_of(const Output& output) {
    Sample sample;
    const auto measures = measure(output.frames);
    for (const auto& measure : all_measures()) sample.measures[measure.name] = measure.of(measures);
    const auto& entries = output.trace.entries;
    if (!entries.empty()) sample.gain = 0;
    for (const auto& entry : entries) {
      sample.gain += entry.gain / static_cast<double>(entries.size());
      sample.weight += entry.weight / static_cast<double>(entries.size());
    }
    sample.seconds = output.seconds.transformer;
    return sample;
  }

  // Runs this program again, so many times at once, each for its part; shows how many pairs are done.
  int work_side_by_side(size_t jobs) {
    std::vector<pid_t> workers;
    const auto stop = [&] {
      for (const auto worker : workers) kill(worker, SIGTERM);
      for (const auto worker : workers) waitpid(worker, nullptr, 0);
    };
    for (size_t i = 0; i < jobs; ++i) {
      workers.push_back(start_worker(i, jobs));
      if (workers.back() < 0) {
        workers.pop_back();
        stop();
        throw Error("cannot start another process");
      }
    }
    TerminalProgress progress(interrupt_);
    progress.phase(fmt::format("{} at once", jobs));
    const auto total = plan_.pair_count(), before = total - unfinished().size();
    int failed = 0;
    for (size_t last = before; !workers.empty();) {
      if (interrupt_.requested()) {
        stop();
        progress.clear();
        print_error("stopped; --resume goes on");
        return interrupt_.exit_code();
      }
      int status = 0;
      const auto ended = waitpid(-1, &status, WNOHANG);
      if (ended > 0) {
        std::erase(workers, ended);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) failed = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
        if (failed != 0) {
          stop();
          return failed;
        }
      }
      const auto done = total - unfinished().size();
      if (done != last) progress.step(static_cast<int64_t>(done - before), static_cast<int64_t>(total - before));
      last = done;
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
    }
    progress.clear();
    return finish();
  }

  // The worker's process, or -1.
  static pid_t start_worker(size_t number, size_t jobs) {
    std::vector<std::string> arguments;
    std::ifstream in("/proc/self/cmdline", std::ios::binary);
    for (std::string argument; std::getline(in, argument, '\0');) arguments.push_back(argument);
    arguments.insert(arguments.end(), {"--worker", fmt::format("{}/{}/{}", number, jobs, getpid())});
    std::vector<char*> pointers;
    for (auto& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    // The signals that this process waits for are the worker's to wait for too, and no longer left to nobody.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t worker = -1;
    const int error = posix_spawn(&worker, "/proc/self/exe", nullptr, &attributes, pointers.data(), environ);
    posix_spawnattr_destroy(&attributes);
    return error == 0 ? worker : -1;
  }

  int finish() {
    if (const auto left = unfinished(); !left.empty()) {
      const auto all = plan_.pairs();
      std::set<size_t> prompts;
      for (const auto pair : left) prompts.insert(all[pair].prompt + 1);
      throw Error(
          fmt::format("{} of {} pairs lack a video, and nothing is concluded: those of the prompts {}; --resume "
                      "tries them again",
                      left.size(), all.size(), fmt::join(prompts, ", ")));
    }
    std::vector<PairSamples> samples;
    for (size_t i = 0; i < plan_.pair_count(); ++i) samples.push_back(read_samples(folder_.samples(i), plan_.variants));
    const auto all = contrasts(plan_, samples);
    write_file(folder_.results(), to_json(plan_, samples, all));
    write_file(folder_.report(), comparison_report(plan_, samples, all, folder_));
    for (const auto& contrast : all)
      if (contrast.measure == plan_.primary)
        print_text("{} against {}: {} {:+.3g} ({:+.3g} to {:+.3g}), better in {:.0f} % of {} pairs, p {:.3g}\n",
                   contrast.variant, contrast.baseline, contrast.measure, contrast.difference.mean,
                   contrast.difference.low, contrast.difference.high, 100 * contrast.difference.win_rate,
                   contrast.difference.pairs, contrast.difference.p);
    print_text("{}: the report\n", folder_.report().string());
    return 0;
  }

  struct Silent : Progress {
    explicit Silent(Interrupt& interrupt) : interrupt(interrupt) {}
    bool cancelled() const override { return interrupt.requested(); }
    Interrupt& interrupt;
  };

  const CompareOptions& options_;
  Interrupt& interrupt_;
  Request wanted_;
  ComparisonFolder folder_;
  ComparisonPlan plan_;
};

int compare(const CompareOptions& options) {
  Interrupt interrupt;
  try {
    if (options.worker) end_with(options.worker->parent);
    return Comparison(options, interrupt).run();
  } catch (const Cancelled&) {
    if (!options.worker) print_error("stopped; --resume goes on");
    return interrupt.exit_code();
  }
}

}  // namespace

Command add_compare(CLI::App& program) {
  auto& command =
      *program.add_subcommand("compare", "Make videos with and without the enhancement, and measure what it changed");
  const auto options = std::make_shared<CompareOptions>();
  command.add_option("--prompts", options->prompts, "Text file with one prompt a line")->type_name("FILE")->required();
  command.add_option("--out", options->out, "Folder to write the videos, the measures and report.html to")
      ->type_name("DIR")
      ->required();
  add_whole(command, "--seeds", "Seeds of each prompt [1]", 1, 10000,
            [=](uint64_t v) { options->seeds = static_cast<int64_t>(v); });
  add_whole(command, "--first-seed", "Seed of the first pair of videos; each further pair has the next [1]", 0,
            std::numeric_limits<int32_t>::max(), [=](uint64_t v) { options->first_seed = v; });
  command
      .add_option("--weights", options->weights,
                  "Weights of the enhancement to compare, such as 1,2,4,auto [the family's,auto]")
      ->type_name("LIST");
  command
      .add_option("--primary", options->primary,
                  "Measure that the question is about, such as warping_error [temporal_ssim]")
      ->type_name("NAME");
  command.add_flag("--resume", options->resume, "Go on with the stopped comparison that --out holds");
  add_whole(command, "--jobs",
            "Videos to make at once, each in a process of its own [as many as memory and cores allow]", 1, kMostJobs,
            [=](uint64_t v) { options->jobs = static_cast<int64_t>(v); });
  command
      .add_option_function<std::string>("--worker", [=](const std::string& v) { options->worker = parse_worker(v); })
      ->group("");  // this program's own
  add_request_options(command, options->asked,
                      {"prompt", "seed", "conditions", "denoise_strength", "init_latents", "latents_only", "enhance",
                       "enhance_weight", "enhance_maps"});
  return {&command, [options] { return compare(*options); }};
}

}  // namespace eav
