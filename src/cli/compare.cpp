// eav compare: videos that differ in the enhancement, or in other options, measured side by side.
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
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <thread>

#include "commands.h"
#include "eav/comparison.h"
#include "eav/memory.h"
#include "eav/prompts.h"
#include "eav/safetensors.h"
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
  std::vector<std::string> variants;
  std::string weights, primary = "temporal_ssim";
  bool resume = false;
  std::optional<Worker> worker;
};

// Each once.
std::vector<Variant> parse_variants(const std::vector<std::string>& names) {
  std::vector<Variant> variants;
  for (const auto& name : names) {
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
    runtime_ = runtime;
    auto& generator = generator_of({});
    plan_ = make_plan(generator);
    prepare_folder();
    const auto left = unfinished();
    const auto jobs = options_.worker ? 1 : std::min(jobs_that_fit(generator), std::max<size_t>(left.size(), 1));
    if (options_.worker || jobs == 1) {
      make(left);
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
    auto names = options_.variants;
    if (names.empty()) {
      names = split(options_.weights.empty() ? fmt::format("{},auto", *resolved.enhance.weight) : options_.weights);
      names.insert(names.begin(), "none");
    }
    plan.variants = parse_variants(names);
    if (plan.variants.size() < 2) throw Error("there is nothing to compare: name two variants that differ");
    for (const auto& variant : plan.variants)
      naming(fmt::format("variant '{}': ", variant.name), [&] {
        auto of_variant = request;
        variant.apply(of_variant);
        generator.open(of_variant);
      });
    if (*resolved.frames < 2 || job.grid().frames < 2)
      throw Error("the enhancement works between frames: give more --frames");
    naming("--primary ", [&] { measure_named(plan.primary); });
    auto record = make_record(generator, resolved);
    record.runtime.dtype = job.plan().dtype;
    plan.settings = shared_settings(record);
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
            fmt::format("'{}' was begun with other prompts, seeds, variants, settings or another program: give "
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

  // A video to be made.
  struct Wanted {
    size_t pair;
    Variant variant;
  };

  Job job_of(const Generator& generator, const Wanted& wanted) const {
    const auto pair = plan_.pairs()[wanted.pair];
    auto request = wanted_;
    request.prompt = plan_.prompts[pair.prompt];
    request.seed = pair.seed;
    wanted.variant.apply(request);
    return generator.open(request);
  }

  using Types = std::pair<std::optional<Dtype>, std::optional<Quantize>>;
  static Types types_of(const Variant& variant) { return {variant.dtype, variant.quantize}; }

  // The model as a variant has it; opened once for all that compute in its types.
  Generator& generator_of(const Variant& variant) {
    auto& generator = generators_[types_of(variant)];
    if (!generator) {
      auto runtime = runtime_;
      variant.apply(runtime);
      generator = std::make_unique<Generator>(options_.asked.paths_over({}), runtime);
    }
    return *generator;
  }

  // Variants in an order in which each stands behind its baseline, in lists of one type.
  std::vector<std::vector<Variant>> batches() const {
    std::vector<std::vector<Variant>> batches;
    std::set<std::string> taken;
    for (auto left = plan_.in_order(); !left.empty();) {
      auto& batch = batches.emplace_back();
      std::erase_if(left, [&, types = types_of(left[0])](const Variant& variant) {
        const auto* baseline = plan_.baseline_of(variant);
        if (types_of(variant) != types || (baseline != nullptr && !taken.contains(baseline->name))) return false;
        taken.insert(variant.name);
        batch.push_back(variant);
        return true;
      });
    }
    return batches;
  }

  bool is_baseline(const Variant& variant) const {
    return std::ranges::any_of(plan_.variants, [&](const Variant& other) {
      const auto* baseline = plan_.baseline_of(other);
      return baseline != nullptr && *baseline == variant;
    });
  }

  // As many as memory holds side by side, a thread each at least.
  size_t jobs_that_fit(const Generator& generator) const {
    const auto cores = std::max(1u, std::thread::hardware_concurrency());
    if (options_.jobs > 0) return static_cast<size_t>(options_.jobs);
    const auto runtime = options_.asked.runtime_over({});
    if (runtime.device != "cpu" || runtime.threads > 0) return 1;
    const auto need = std::max<int64_t>(1, job_of(generator, {0, plan_.variants[0]}).plan().peak());
    return static_cast<size_t>(std::clamp<int64_t>(available_memory("cpu") / need, 1, cores));
  }

  // Of a pair, what an earlier run has measured of it and can be gone on with.
  PairSamples begun(size_t pair) const {
    if (!fs::exists(folder_.begun(pair))) return {};
    auto samples = read_samples(folder_.begun(pair), plan_.variants, /*begun=*/true);
    for (const auto& variant : plan_.variants)
      if (is_baseline(variant) && !fs::exists(folder_.frames(pair, variant))) samples.erase(variant.name);
    return samples;
  }

  void make(const std::vector<size_t>& pairs) {
    fs::create_directories(folder_.folder / "frames");
    std::map<size_t, PairSamples> samples;
    for (const auto pair : pairs) samples[pair] = begun(pair);
    size_t done = 0, total = pairs.size() * plan_.variants.size();
    for (const auto& [pair, there] : samples) done += there.size();
    TerminalProgress shown(interrupt_);
    Silent silent(interrupt_);
    Progress& progress = options_.worker ? static_cast<Progress&>(silent) : shown;
    const auto label = [&] { shown.set_label(fmt::format("{}/{} ", std::min(done + 1, total), total)); };
    for (const auto& batch : batches()) {
      std::vector<Wanted> wanted;
      for (const auto pair : pairs)
        for (const auto& variant : batch)
          if (!samples[pair].contains(variant.name)) wanted.push_back({pair, variant});
      if (wanted.empty()) continue;
      auto& generator = generator_of(batch[0]);
      std::vector<Job> jobs;
      for (const auto& one : wanted) jobs.push_back(job_of(generator, one));
      size_t next = 0;
      const auto end_video = [&](const std::function<void(const Wanted&)>& take) {
        const auto& one = wanted[next++];
        try {
          take(one);
        } catch (const Cancelled&) {
          throw;
        } catch (const Error& error) {
          shown.clear();
          print_error(fmt::format("{}: {}", folder_.video(one.pair, one.variant).string(), error.what()));
        }
        ++done;
        label();
      };
      label();
      generator.run(
          jobs, progress,
          [&](Output&& output) {
            end_video([&](const Wanted& one) { keep(one, output, generator, samples[one.pair], progress); });
          },
          [&](const Error& error) { end_video([&](const Wanted&) { throw error; }); });
    }
  }

  // Measures a video and writes it, and what it is the baseline of will be compared with.
  void keep(const Wanted& one, const Output& output, const Generator& generator, PairSamples& samples,
            Progress& progress) const {
    const auto& [pair, variant] = one;
    auto sample = sample_of(output);
    if (const auto* baseline = plan_.baseline_of(variant)) {
      const auto file = folder_.frames(pair, *baseline);
      if (!fs::exists(file)) throw Error(fmt::format("there is no video of {} to compare it with", baseline->name));
      const auto near = fidelity(output.frames, read_safetensors(file).at("frames"));
      sample.psnr = std::min(near.psnr, Sample::kEqual);
      sample.ssim = near.ssim;
    }
    write_video(folder_.video(pair, variant), output.frames, *output.request.fps,
                to_json(without_folders(make_record(generator, output.request)), output.trace), progress);
    if (is_baseline(variant))
      prepare_safetensors(folder_.frames(pair, variant), {{"frames", output.frames}}).finish(Existing::replace);
    samples[variant.name] = sample;
    const bool complete = samples.size() == plan_.variants.size();
    write_file(complete ? folder_.samples(pair) : folder_.begun(pair), to_json(samples));
    if (!complete) return;
    fs::remove(folder_.begun(pair));
    for (const auto& other : plan_.variants) fs::remove(folder_.frames(pair, other));
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
    sample.evaluations = output.trace.computed_steps();
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
    std::error_code kept;  // of pairs that a run with other variants began
    fs::remove(folder_.folder / "frames", kept);
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
    for (const auto& near : nearness(plan_, samples))
      if (!std::ranges::all_of(plan_.variants, &Variant::is_plain))
        print_text("{} to {}: PSNR {:.2f} dB ({:.2f} to {:.2f}, worst {:.2f}), SSIM {:.4f} (worst {:.4f})\n",
                   near.variant, near.baseline, near.psnr.mean, near.psnr.low, near.psnr.high, near.psnr.worst,
                   near.ssim.mean, near.ssim.worst);
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
  Runtime runtime_;
  std::map<Types, std::unique_ptr<Generator>> generators_;
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
  auto& command = *program.add_subcommand(
      "compare", "Make videos that differ in the enhancement or in other options, and measure how");
  const auto options = std::make_shared<CompareOptions>();
  command.add_option("--prompts", options->prompts, "Text file with one prompt a line")->type_name("FILE")->required();
  command.add_option("--out", options->out, "Folder to write the videos, the measures and report.html to")
      ->type_name("DIR")
      ->required();
  add_whole(command, "--seeds", "Seeds of each prompt [1]", 1, 10000,
            [=](uint64_t v) { options->seeds = static_cast<int64_t>(v); });
  add_whole(command, "--first-seed", "Seed of the first pair of videos; each further pair has the next [1]", 0,
            std::numeric_limits<int32_t>::max(), [=](uint64_t v) { options->first_seed = v; });
  auto* weights =
      command
          .add_option("--weights", options->weights,
                      "Weights of the enhancement to compare with none, such as 1,2,4,auto [the family's,auto]")
          ->type_name("LIST");
  command
      .add_option("--variants", options->variants,
                  "In place of --weights: what to compare, each none, auto or a weight, with other\n"
                  "options behind it, such as none 3.4 3.4,steps=12 3.4,dtype=bfloat16")
      ->type_name("VARIANT...")
      ->expected(1, 100)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->excludes(weights);
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
