#include "eav/generator.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <set>
#include <thread>

#include "base/gpu.h"
#include "base/torch_error.h"
#include "eav/fingerprint.h"
#include "models/family.h"
#include "options/json.h"
#include "pipeline/comfyui.h"
#include "pipeline/loras.h"
#include "pipeline/mag_curve.h"
#include "pipeline/memory.h"
#include "pipeline/model_path.h"
#include "pipeline/preview.h"
#include "pipeline/registry.h"
#include "pipeline/saved.h"
#include "weights/int8.h"

namespace eav {
namespace {

// Adds the seconds of its lifetime to a sum.
class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds) {}
  ~Stopwatch() { seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Whether two requests have the same prompts and conditions: they differ in noise and enhancement at most.
bool encoded_alike(Request a, const Request& b) {
  a.seed = b.seed;
  a.enhance = b.enhance;
  return a == b;
}

OutOfMemory ran_out(const char* when) {
  return OutOfMemory(
      fmt::format("memory ran out while {}: `offload`, a `dtype` of 16 bits or fewer `frames` take less", when));
}

// What PyTorch said, in one line.
[[noreturn]] void fail(const char* when, const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  // What ATen's allocator for the CPU throws is told apart by its text alone.
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) || text.find("allocate memory") != std::string::npos)
    throw ran_out(when);
  throw Error(fmt::format("PyTorch failed while {}: {}", when, first_line(error)));
}

// Does work on a device that may need more memory than there is, whatever its plan said. It is done on return.
template <class Work>
void within_memory(const char* when, at::Device device, const Work& work) {
  try {
    work();
    wait_for(device);
  } catch (const std::bad_alloc&) {
    throw ran_out(when);
  } catch (const c10::Error& error) {
    fail(when, error);
  }
}

const OptionSpec* find(const std::vector<OptionSpec>& options, const std::string& name) {
  const auto found = std::ranges::find(options, name, &OptionSpec::name);
  return found == options.end() ? nullptr : &*found;
}

// Throws where something is asked for that the checkpoint does not have.
void check_has(const std::vector<OptionSpec>& options, const Settings& asked, const std::string& family) {
  for (const auto& [name, value] : asked) {
    if (find(options, name) != nullptr) continue;
    const auto* option = find_option(name);
    if (option == nullptr) throw Error(name, fmt::format("there is no option `{}`", name));
    auto having = option->families;
    const auto* verb = having.size() == 1 && having[0] != family ? "takes" : "take";
    std::ranges::replace(having, family, "other checkpoints of " + family);
    const auto what =
        name == "conditions" ? "takes no image or video to condition on" : fmt::format("has no `{}`", name);
    throw Error(
        name, fmt::format("this {} {}: leave that option out ({} {} it)", family, what, fmt::join(having, ", "), verb));
  }
}

// Throws where a type is asked for of a part that the model does not have.
void check_parts(Family& family, const Runtime& runtime) {
  std::set<std::string> names;
  for (const auto phase : kPhases)
    for (const auto* part : family.parts(phase)) names.insert(part->name());
  for (const auto& [name, dtype] : runtime.part_dtypes)
    if (!names.contains(name))
      throw Error("dtype", fmt::format("\"{}\" is no part of this model, which has {}", name, fmt::join(names, ", ")));

  // Those that are made of blocks: the VAE is not.
  std::set<std::string> of_blocks;
  for (const auto phase : {Phase::text_encoder, Phase::transformer})
    for (const auto* part : family.parts(phase)) of_blocks.insert(part->name());
  for (const auto* part : family.parts(Phase::vae)) of_blocks.erase(part->name());
  for (const auto& [name, quantize] : runtime.part_quantize)
    if (!of_blocks.contains(name))
      throw Error("quantize", fmt::format("\"{}\" is no part of this model that has blocks to quantise: those are {}",
                                          name, fmt::join(of_blocks, ", ")));
}

bool quantises(const Runtime& runtime) {
  return runtime.quantize != Quantize::none ||
         std::ranges::any_of(runtime.part_quantize, [](const auto& part) { return part.second != Quantize::none; });
}

// What has to be said about how parts are quantised, in a line each.
std::vector<std::string> quantize_notes(Family& family) {
  std::vector<std::string> notes;
  bool any = false;
  for (const auto phase : {Phase::text_encoder, Phase::transformer})
    for (const auto* part : family.parts(phase)) {
      if (part->placement().quantize == Quantize::none) continue;
      any = true;
      const auto& stored = part->tensors().index();
      const auto packed = std::ranges::find_if(stored, [](const auto& entry) {
        return entry.second.second.packing() && entry.second.second.shape.size() > 1;
      });
      if (packed != stored.end())
        notes.push_back(
            fmt::format("{} is stored in {}: its blocks are rounded a second time, to int8; without `quantize` "
                        "they stay as they are",
                        part->name(), packed->second.second.type_name()));
    }
  if (any && !int8_is_fast())
    notes.emplace_back("this CPU has no exact products in int8: weights are held in it, computed with in float32");
  return notes;
}

// The defaults of a checkpoint's eav.json; its "dtype" is the runtime's where that leaves it open. Throws eav::Error
// where it names an option that the checkpoint does not have, or a value that does not serve.
Settings read_standards(const std::filesystem::path& model, const std::vector<OptionSpec>& options, Runtime& runtime) {
  const auto path = model / "eav.json";
  if (!std::filesystem::exists(path)) return {};
  const JsonFile file(path);
  Settings standards;
  for (const auto& [name, value] : file.json().items()) {
    if (name == "dtype") {
      Runtime own;
      try {
        set_dtypes(own, file.get<std::string>("dtype"));
      } catch (const Error& error) {
        throw Error(fmt::format("{}: {}", path.string(), error.what()));
      }
      if (runtime.dtype == Dtype::automatic) runtime.dtype = own.dtype;
      runtime.part_dtypes.merge(own.part_dtypes);
      continue;
    }
    const auto* spec = find(options, name);
    if (spec == nullptr || name == "prompt" || name == "seed" || name == "conditions" || !spec->recorded)
      throw Error(fmt::format("{}: \"{}\" is no default that can be set here: `eav options` lists this model's",
                              path.string(), name));
    if (value.is_null()) continue;
    try {
      standards[name] = value_of_json(*spec, value);
    } catch (const Error& error) {
      throw Error(fmt::format("{}: {}", path.string(), error.what()));
    }
  }
  return standards;
}

// Of latents that hold NaN or infinite values.
Error not_finite(Dtype dtype) {
  const auto* wider = dtype == Dtype::float16    ? "`dtype` float32 or bfloat16, "
                      : dtype == Dtype::bfloat16 ? "`dtype` float32, "
                                                 : "";
  return Error(fmt::format(
      "the latents are not finite (NaN or infinite) after denoising, and no video can be made of them: "
      "{}another number of `steps` or a lower `guidance` may help, or a weight of the checkpoint is damaged",
      wider));
}

}  // namespace

int64_t MemoryPlan::peak() const {
  return std::max({text_encoder.total(), transformer.total(), vae ? vae->total() : 0});
}

// What all parts compute in.
struct Types {
  Dtype dtype;
  bool float32_vae = false;  // but the VAE, where nobody asked for its type
};

struct Generator::State {
  ModelPaths paths;
  Runtime runtime;
  at::Device device;
  std::shared_ptr<Family> family;
  at::ScalarType stored;   // the type of the transformer's weights in the file
  Settings standards{};    // the checkpoint's own
  bool by_stored = false;  // "auto" off the CPU: parts compute in the types that they are stored in
  bool keep = false;       // models, between runs
  std::string fingerprint{};
  std::vector<std::string> lora_notes{};
  std::string taken{};  // files of ComfyUI's, in words

  Placement placement(Types types) const {
    auto placement = place(by_stored ? Dtype::automatic : types.dtype, device, stored);
    placement.of_parts = runtime.part_dtypes;
    if (types.float32_vae)
      for (const auto* part : family->parts(Phase::vae)) placement.of_parts.try_emplace(part->name(), Dtype::float32);
    placement.quantize = runtime.quantize;
    placement.quantize_of_parts = runtime.part_quantize;
    placement.offload = runtime.offload;
    return placement;
  }
  MemoryPlan plan(const VideoJob& job, Types types) const {
    auto plan = plan_memory(job, placement(types));
    plan.dtype = types.dtype;
    return plan;
  }
  bool fits(const VideoJob& job, Types types) const {
    const auto available = available_memory(device);
    return plan_memory(job, placement(types), available).peak() <= available;
  }
  std::unique_ptr<VideoJob> open(const Request& request) const {
    return family->open({.values = request.asked(), .standards = standards});
  }
  // What was asked for. "auto" is, on a CPU, bfloat16 where it multiplies that natively and the transformer is stored
  // in 16 bits or fewer, with a VAE in float32, whose pictures are nearer; else float32. On CUDA it is the stored type.
  Types wanted() const;
  // The same, but bfloat16 for all parts where memory does not suffice for an "auto" with float32.
  Types choose(std::span<const VideoJob* const> jobs) const;
  // Whether parts that take turns stay in memory side by side: where several runs would load them again and again.
  bool fit_together(std::span<const VideoJob* const> jobs, bool several) const;
  bool needs_tiling(VideoJob& job) const;
  std::string advice(const VideoJob& job, Types types) const;
};

Types Generator::State::wanted() const {
  if (runtime.dtype != Dtype::automatic) return {runtime.dtype};
  if (!device.is_cpu()) return {place(Dtype::automatic, device, stored).dtype};
  if (stored != at::kFloat && cpu_has(at::kBFloat16)) return {Dtype::bfloat16, /*float32_vae=*/true};
  return {Dtype::float32};
}

Types Generator::State::choose(std::span<const VideoJob* const> jobs) const {
  const auto types = wanted();
  if (runtime.dtype != Dtype::automatic || !device.is_cpu()) return types;
  const bool all_fit = std::ranges::all_of(jobs, [&](const VideoJob* job) { return fits(*job, types); });
  return all_fit ? types : Types{Dtype::bfloat16};
}

bool Generator::State::fit_together(std::span<const VideoJob* const> jobs, bool several) const {
  if (!several || family->parts(Phase::transformer).size() == 1) return false;
  auto together = placement({runtime.dtype});
  together.together = true;
  const auto available = available_memory(device);
  return std::ranges::all_of(jobs, [&](const VideoJob* job) {
    const auto plan = plan_memory(*job, together, available);
    return plan.peak() <= available && plan.transformer.total() + (plan.vae ? plan.vae->total() : 0) <= available;
  });
}

// Whether the VAE does not fit in memory unless it decodes in tiles.
bool Generator::State::needs_tiling(VideoJob& job) const {
  if (job.options().latents_only) return false;
  job.choose_tiling(VaeTiling::off);
  const auto vae = plan(job, wanted()).vae;
  return vae->total() > available_memory(device);
}

// What a job that does not fit could be changed to so that it does.
std::string Generator::State::advice(const VideoJob& job, Types types) const {
  const auto dtype16 = types.dtype == Dtype::float32 ? Dtype::bfloat16 : types.dtype;
  const bool tiles = job.options().vae_tiling.has_value();
  State offloading = *this;
  offloading.runtime.offload = true;
  const auto request = job.options().request();
  // The job with other options; nothing where its family does not take them.
  const auto changed = [&](const std::function<void(Request&)>& change) -> std::unique_ptr<VideoJob> {
    auto other = request;
    if (tiles) other.settings["vae_tiling"] = "on";
    change(other);
    try {
      return open(other);
    } catch (const Error&) {
      return nullptr;
    }
  };
  const auto tiled = tiles ? changed([](Request&) {}) : nullptr;

  // The smallest changes first.
  struct Change {
    const State& state;
    const VideoJob& job;
    Types types;
    std::string options;
  };
  const auto typed = fmt::format("`dtype` {}", to_string(dtype16));
  std::vector<Change> changes;
  if (tiled) changes.push_back({*this, *tiled, types, "`vae_tiling` on"});
  changes.push_back({*this, job, {dtype16}, typed});
  if (tiled) changes.push_back({*this, *tiled, {dtype16}, typed + " with `vae_tiling` on"});
  changes.push_back({offloading, job, types, "`offload`"});
  if (tiled) changes.push_back({offloading, *tiled, types, "`offload` with `vae_tiling` on"});
  changes.push_back({offloading, job, {dtype16}, typed + " with `offload`"});
  if (tiled) changes.push_back({offloading, *tiled, {dtype16}, typed + " with `offload` and `vae_tiling` on"});
  for (const auto& change : changes)
    if (change.state.fits(change.job, change.types)) return change.options + " would fit";

  const auto common = typed + (tiles ? " `vae_tiling` on" : "") + " `offload`";
  for (auto frames = *request.frames; frames > 1;) {
    // About half as long: the first length from there on that the family takes, where there is one near by.
    constexpr int64_t kTried = 64;  // lengths; those of a family lie closer to each other
    const auto half = std::max<int64_t>(1, (frames - 1) / 16 * 8 + 1), end = std::min(frames, half + kTried);
    std::unique_ptr<VideoJob> shorter;
    for (frames = half; frames < end; ++frames) {
      shorter = changed([&](Request& r) { r.frames = frames; });
      if (shorter) break;
    }
    if (!shorter) {
      frames = half;
      continue;
    }
    if (offloading.fits(*shorter, {dtype16})) return fmt::format("`frames` {} with {} would fit", frames, common);
  }
  for (auto width = *request.width, height = *request.height; width > 64 && height > 64;) {
    width = width / 64 * 32, height = height / 64 * 32;
    const auto smaller = changed([&](Request& r) { r.width = width, r.height = height, r.frames = 1; });
    if (smaller && offloading.fits(*smaller, {dtype16}))
      return fmt::format("`width` {} `height` {} `frames` 1 with {} would fit", width, height, common);
  }
  return "no size of this model would fit";
}

// ---- jobs ----------------------------------------------------------------------------------------------------------

Request Job::request() const { return job_->options().request(); }
VideoSize Job::video_size() const { return job_->video_size(); }
Grid Job::grid() const { return job_->grid(); }
MemoryPlan Job::plan() const { return plan_(); }
void Job::check_complete() const { job_->check_complete(); }

// ---- the generator -------------------------------------------------------------------------------------------------

Generator::Generator(const ModelPaths& given, const Runtime& runtime) {
  auto paths = resolve(given);
  std::string taken;
  if (!paths.comfyui.empty()) {
    auto found = find_in_comfyui(std::move(paths));
    paths = std::move(found.paths);
    paths.comfyui.clear();  // what was found there is named
    taken = std::move(found.note);
  }
  state_ = std::make_shared<State>(State{paths, runtime, parse_device(runtime.device), open_family(paths), at::kFloat});
  if (runtime.threads < 0) throw Error("threads", fmt::format("threads is {}, expected at least 1", runtime.threads));
  if (runtime.threads == 0)
    state_->runtime.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  state_->taken = std::move(taken);
  at::set_num_threads(state_->runtime.threads);
  state_->stored = state_->family->parts(Phase::transformer)[0]->stored_type();
  if (quantises(runtime) && !state_->device.is_cpu())
    throw Error("quantize", fmt::format("int8 works on a CPU, not on {}: leave `quantize` out, or choose `device` cpu",
                                        runtime.device));
  state_->lora_notes = apply_loras(paths.loras, *state_->family);
  state_->standards = read_standards(paths.model, state_->family->options({}), state_->runtime);
  state_->by_stored = state_->runtime.dtype == Dtype::automatic && !state_->device.is_cpu();
  check_parts(*state_->family, state_->runtime);
}
Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

std::vector<OptionSpec> Generator::options() const { return state_->family->options(state_->standards); }

Job Generator::open(const Request& request) const {
  check_has(options(), request.asked(), state_->family->name());
  Job job;
  job.job_ = state_->open(request);
  const auto asked = request.settings.find("vae_tiling");
  const bool asked_off = asked != request.settings.end() && asked->second == Value("off");
  job.may_tile_ = job.job_->options().vae_tiling && !asked_off;
  if (job.job_->options().vae_tiling == VaeTiling::automatic)
    job.job_->choose_tiling(state_->needs_tiling(*job.job_) ? VaeTiling::on : VaeTiling::off);
  job.plan_ = [state = state_, video = job.job_] {
    const VideoJob* only = video.get();
    return state->plan(*video, state->choose({&only, 1}));
  };
  return job;
}

Inspection Generator::inspect() const { return state_->family->inspect(); }

std::string Generator::note() const {
  const auto own = state_->family->note();
  if (state_->taken.empty()) return own;
  return fmt::format("of ComfyUI: {}{}{}", state_->taken, own.empty() ? "" : "; ", own);
}

VideoJob& Generator::probe(const Job& job, const std::shared_ptr<BlockProbe>& probe) const {
  auto& state = *state_;
  for (const auto phase : kPhases) state.family->release(phase);
  const VideoJob* only = job.job_.get();
  auto placement = state.placement(state.choose({&only, 1}));
  placement.probe = probe;
  state.family->place(placement);
  return *job.job_;
}

const std::vector<std::string>& Generator::lora_notes() const { return state_->lora_notes; }

const Runtime& Generator::runtime() const { return state_->runtime; }

const ModelPaths& Generator::paths() const { return state_->paths; }

std::string Generator::fingerprint() const {
  if (state_->fingerprint.empty()) state_->fingerprint = eav::fingerprint(state_->paths);
  return state_->fingerprint;
}

void Generator::keep_models(bool keep) { state_->keep = keep; }

void Generator::run(std::span<const Job> jobs, Progress& progress, const std::function<void(Output&&)>& done,
                    const std::function<void(const Error&)>& failed, const Saving& saving, const Preview& preview) try {
  auto& family = *state_->family;
  const c10::InferenceMode no_autograd;
  fingerprint();  // that of the files before they are read, whatever becomes of them
  std::vector<const VideoJob*> all;
  for (const auto& job : jobs) {
    job.check_complete();
    all.push_back(job.job_.get());
  }
  const auto types = state_->choose(all);
  auto placement = state_->placement(types);
  state_->runtime.dtype = types.dtype;
  placement.together = state_->fit_together(all, jobs.size() > 1 || state_->keep);
  if (!placement.note.empty()) progress.warning(placement.note);
  std::vector<MemoryPlan> plans;
  for (const auto* job : all)
    check_fits(plans.emplace_back(plan_memory(*job, placement, available_memory(state_->device))), state_->device,
               [&] { return state_->advice(*job, types); });
  family.place(placement);
  for (const auto& note : quantize_notes(family)) progress.warning(note);
  for (const auto phase : kPhases)
    for (const auto* part : family.parts(phase))
      if (const auto dtype = part->placement().dtype; dtype != placement.dtype)
        state_->runtime.part_dtypes[part->name()] = dtype;
  const auto release = [&](Phase phase) {
    if (state_->keep) return;
    family.release(phase);
    give_freed_memory_back();
  };

  const bool decode_only = saving.from && saving.from->denoised();  // the first job
  std::set<std::string> warned;
  const auto check_whole = [&](Phase phase) {
    for (const auto* part : family.parts(phase)) part->check_whole();
  };
  // What a phase that worked has to say.
  const auto finish = [&](Phase phase) {
    check_whole(phase);
    for (const auto* part : family.parts(phase))
      if (const auto warning = part->take_warning(); !warning.empty() && warned.insert(warning).second)
        progress.warning(warning);
  };
  std::function<void(const SavedState&)> keep;
  if (saving.keep)
    keep = [&](const SavedState& state) {
      check_whole(Phase::transformer);  // no state comes of a damaged one
      saving.keep(state);
    };

  Watch onlooker;
  if (preview.show && !jobs.empty()) {
    try {
      within_memory("the VAE decodes", state_->device,
                    [&] { onlooker = Previewer(preview, colors_of(*jobs[0].job_, preview.cache, progress)); });
    } catch (const Cancelled&) {
      throw;
    } catch (const Error& error) {  // what is wrong with the VAE ends a run when it is its turn
      progress.warning(fmt::format("there is no preview: {}", error.what()));
    }
    release(Phase::vae);
  }

  std::vector<Output> outputs;
  progress.phase("text encoder");
  for (size_t i = 0; i < jobs.size(); ++i) {
    const Stopwatch watch(outputs.emplace_back(Output{.request = jobs[i].request()}).seconds.text_encoder);
    // Jobs that follow one another and differ in what comes later alone share it.
    if (i > 0 && encoded_alike(outputs[i - 1].request, outputs[i].request))
      jobs[i].job_->share_encodings(*jobs[i - 1].job_);
    if (i == 0 && decode_only) continue;
    within_memory("a text encoder works", state_->device, [&] { jobs[i].job_->encode(progress); });
  }
  finish(Phase::text_encoder);
  release(Phase::text_encoder);

  // Several videos share one transformer and one VAE where both fit side by side.
  bool keep_loaded = jobs.size() > 1;  // the transformer, while a VAE works
  for (const auto& plan : plans)
    keep_loaded = keep_loaded &&
                  plan.transformer.total() + (plan.vae ? plan.vae->total() : 0) <= available_memory(state_->device);

  for (size_t i = 0; i < jobs.size(); ++i) {
    auto& job = *jobs[i].job_;
    auto& output = outputs[i];
    Denoised denoised;
    if (i == 0 && decode_only) {
      denoised = load_denoised(*saving.from);
      denoised.latents = denoised.latents.to(state_->device);
    } else {
      progress.phase("transformer");
      const Stopwatch watch(output.seconds.transformer);
      within_memory("the transformer works", state_->device, [&] {
        take_mag_ratios(job, fingerprint(), progress);
        output.request = jobs[i].request();
        denoised = job.denoise(progress, {i == 0 ? saving.from : std::nullopt, keep}, onlooker);
      });
      finish(Phase::transformer);
    }
    output.trace = denoised.trace;
    output.latents = job.shown_latents(denoised.latents);
    const bool last = i + 1 == jobs.size();
    if (last || !keep_loaded) release(Phase::transformer);
    const bool finite = at::isfinite(denoised.latents).all().item<bool>();
    if (!finite && !failed) throw not_finite(placement.dtype);
    if (finite && saving.keep) saving.keep(save(denoised));
    if (finite && !job.options().latents_only) {
      progress.phase("vae");
      const Stopwatch watch(output.seconds.vae);
      const auto decode = [&] {
        within_memory("the VAE decodes", state_->device, [&] { output.frames = job.decode(denoised, progress); });
      };
      try {
        decode();
      } catch (const OutOfMemory&) {
        if (!jobs[i].may_tile_ || job.options().tiled()) throw;
        progress.warning("memory ran out while the VAE decoded: it decodes again, in tiles");
        give_freed_memory_back();
        job.choose_tiling(VaeTiling::on);
        output.request = jobs[i].request();
        decode();
      }
      finish(Phase::vae);
    }
    if (last || !keep_loaded) release(Phase::vae);
    finite ? done(std::move(output)) : failed(not_finite(placement.dtype));
    output = {};
  }
} catch (const c10::Error& error) {
  fail("a video is made", error);
}

Environment environment(const std::string& device) {
  std::string cpu = "unknown CPU", line;
  for (std::ifstream info("/proc/cpuinfo"); std::getline(info, line);)
    if (line.starts_with("model name")) {
      cpu = line.substr(line.find(':') + 2);
      break;
    }
  return {EAV_VERSION, TORCH_VERSION, fmt::format("{} ({})", cpu, at::get_cpu_capability()),
          describe_gpu(parse_device(device))};
}

}  // namespace eav
