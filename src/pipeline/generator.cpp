#include "eav/generator.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <thread>

#include "models/family.h"
#include "models/parts.h"
#include "pipeline/fingerprint.h"
#include "pipeline/memory.h"
#include "pipeline/registry.h"

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

}  // namespace

int64_t MemoryPlan::peak() const {
  int64_t most = 0;
  for (const auto& phase : phases) most = std::max(most, phase.total());
  return most;
}

struct Generator::State {
  ModelPaths paths;
  Runtime runtime;
  at::Device device;
  std::shared_ptr<Family> family;
  at::ScalarType stored;  // the type of the transformer's weights in the file

  Placement placement(Dtype dtype) const {
    auto placement = place(dtype, device, stored);
    placement.offload = runtime.offload;
    return placement;
  }
  MemoryPlan plan(const Request& request, Dtype dtype) const {
    auto plan = family->plan(request, placement(dtype));
    if (request.latents_only) plan.phases.pop_back();
    plan.dtype = dtype;
    return plan;
  }
  bool fits(const Request& request, Dtype dtype) const {
    return plan(request, dtype).peak() <= available_memory(device);
  }
  // "auto": float32 on a CPU where it fits, else bfloat16; on CUDA the stored type.
  Dtype choose(std::span<const Request> requests) const;
  bool needs_tiling(const Request& request) const;
  std::string advice(const Request& request, Dtype dtype) const;
};

Dtype Generator::State::choose(std::span<const Request> requests) const {
  if (runtime.dtype != Dtype::automatic) return runtime.dtype;
  if (!device.is_cpu()) return place(Dtype::automatic, device, stored).dtype;
  const bool all_fit =
      std::all_of(requests.begin(), requests.end(), [&](const Request& r) { return fits(r, Dtype::float32); });
  return all_fit ? Dtype::float32 : Dtype::bfloat16;
}

// Whether the VAE does not fit in memory unless it decodes in tiles.
bool Generator::State::needs_tiling(const Request& request) const {
  if (request.latents_only) return false;
  const bool chooses = runtime.dtype == Dtype::automatic && device.is_cpu();
  auto whole = request;
  whole.vae_tiling = VaeTiling::off;
  const auto vae = plan(whole, chooses ? Dtype::float32 : choose({&whole, 1})).phases.back();
  return vae.total() > available_memory(device);
}

// What a request that does not fit could be changed to so that it does.
std::string Generator::State::advice(const Request& request, Dtype dtype) const {
  Request tiled = request;
  tiled.vae_tiling = VaeTiling::on;
  const auto dtype16 = dtype == Dtype::float32 ? Dtype::bfloat16 : dtype;
  State offloading{paths, runtime, device, family, stored};
  offloading.runtime.offload = true;

  // The smallest changes first.
  struct Change {
    const State& state;
    const Request& request;
    Dtype dtype;
    std::string options;
  };
  const auto typed = fmt::format("--dtype {}", to_string(dtype16));
  const std::vector<Change> changes{
      {*this, tiled, dtype, "--vae-tiling on"},
      {*this, request, dtype16, typed},
      {*this, tiled, dtype16, typed + " with --vae-tiling on"},
      {offloading, request, dtype, "--offload"},
      {offloading, tiled, dtype, "--offload with --vae-tiling on"},
      {offloading, request, dtype16, typed + " with --offload"},
      {offloading, tiled, dtype16, typed + " with --offload and --vae-tiling on"},
  };
  for (const auto& change : changes)
    if (change.state.fits(change.request, change.dtype)) return change.options + " would fit";

  const auto common = typed + (family->can_tile() ? " --vae-tiling on" : "") + " --offload";
  Request shorter = tiled;
  while (*shorter.frames > 1) {
    shorter.frames = std::max<int64_t>(1, (*shorter.frames - 1) / 16 * 8 + 1);
    if (offloading.fits(shorter, dtype16)) return fmt::format("--frames {} with {} would fit", *shorter.frames, common);
  }
  for (auto smaller = shorter; *smaller.width > 64 && *smaller.height > 64;) {
    smaller.width = *smaller.width / 64 * 32, smaller.height = *smaller.height / 64 * 32;
    if (offloading.fits(smaller, dtype16))
      return fmt::format("--width {} --height {} --frames 1 with {} would fit", *smaller.width, *smaller.height,
                         common);
  }
  return "no size of this model would fit";
}

Generator::Generator(const ModelPaths& paths, const Runtime& runtime)
    : state_(std::make_unique<State>(
          State{paths, runtime, parse_device(runtime.device), open_family(paths), at::kFloat})) {
  if (runtime.threads < 0) throw Error(fmt::format("threads is {}, expected at least 1", runtime.threads));
  if (runtime.threads == 0)
    state_->runtime.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  at::set_num_threads(state_->runtime.threads);
  for (const auto& part : inspect().parts)
    if (part.name == "transformer") state_->stored = stored_type(part);
}
Generator::~Generator() = default;
Generator::Generator(Generator&&) noexcept = default;
Generator& Generator::operator=(Generator&&) noexcept = default;

Request Generator::resolve(const Request& request) const {
  auto resolved = state_->family->resolve(request);
  if (resolved.vae_tiling == VaeTiling::automatic)
    resolved.vae_tiling = state_->needs_tiling(resolved) ? VaeTiling::on : VaeTiling::off;
  return resolved;
}

void Generator::check_complete(const Request& request) const { state_->family->check_complete(request); }

MemoryPlan Generator::plan(const Request& request) const {
  return state_->plan(request, state_->choose({&request, 1}));
}

VideoSize Generator::video_size(const Request& request) const { return state_->family->video_size(request); }

Grid Generator::grid(const Request& request) const { return state_->family->grid(request); }

Inspection Generator::inspect() const { return state_->family->inspect(); }

const Runtime& Generator::runtime() const { return state_->runtime; }

std::string Generator::fingerprint() const { return eav::fingerprint(state_->paths); }

void Generator::run(std::span<const Request> requests, Progress& progress, const std::function<void(Output&&)>& done) {
  auto& family = *state_->family;
  const c10::InferenceMode no_autograd;
  for (const auto& request : requests) family.check_complete(request);
  state_->runtime.dtype = state_->choose(requests);
  const auto placement = state_->placement(state_->runtime.dtype);
  if (!placement.note.empty()) progress.warning(placement.note);
  for (const auto& request : requests)
    check_fits(state_->plan(request, placement.dtype), state_->device,
               [&] { return state_->advice(request, placement.dtype); });
  family.place(placement);

  std::vector<Output> outputs;
  std::vector<Conditioning> conditionings;
  progress.phase("text encoder");
  for (const auto& request : requests) {
    const Stopwatch watch(outputs.emplace_back(Output{.request = request}).seconds.text_encoder);
    // Requests that follow one another and differ in what comes later alone share it.
    const auto i = conditionings.size();
    conditionings.push_back(i > 0 && encoded_alike(requests[i - 1], request) ? conditionings[i - 1]
                                                                             : family.encode(request, progress));
  }
  family.release_text_encoder();

  // Several videos share one transformer and one VAE where both fit side by side.
  bool keep_loaded = requests.size() > 1;  // the transformer, while a VAE works
  for (const auto& request : requests) {
    const auto phases = state_->plan(request, placement.dtype).phases;  // text encoder, transformer, VAE
    keep_loaded = keep_loaded && phases[1].total() + (request.latents_only ? 0 : phases[2].total()) <=
                                     available_memory(state_->device);
  }

  for (size_t i = 0; i < requests.size(); ++i) {
    auto& output = outputs[i];
    Tensor latents;
    {
      progress.phase("transformer");
      const Stopwatch watch(output.seconds.transformer);
      latents = family.denoise(requests[i], conditionings[i], progress, output.trace);
      output.latents = family.shown_latents(latents);
    }
    const bool last = i + 1 == requests.size();
    if (last || !keep_loaded) family.release_transformer();
    if (!requests[i].latents_only) {
      progress.phase("vae");
      const Stopwatch watch(output.seconds.vae);
      output.frames = family.decode(requests[i], latents, progress);
    }
    if (last || !keep_loaded) family.release_vae();
    conditionings[i].clear();
    done(std::move(output));
    output = {};
  }
}

Environment environment() {
  std::string cpu = "unknown CPU", line;
  for (std::ifstream info("/proc/cpuinfo"); std::getline(info, line);)
    if (line.starts_with("model name")) {
      cpu = line.substr(line.find(':') + 2);
      break;
    }
  return {EAV_VERSION, TORCH_VERSION, fmt::format("{} ({})", cpu, at::get_cpu_capability())};
}

}  // namespace eav
