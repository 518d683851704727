// eav_probe phase PHASE MODEL [--OPTION VALUE]…: runs one phase (text_encoder, transformer or vae) of a video and
// writes, as JSON, the most memory that it took beside what the plan says, in bytes. Options are those of the
// checkpoint, by name, and dtype, quantize, threads, offload (of any value), device, and compute: a type to compute in
// whatever the processor is fast at. Phases before it run first and are not counted. eav_probe plan MODEL [--OPTION
// VALUE]…: the plan alone, and the seconds that it took. eav_probe latents MODEL --out FILE [--OPTION VALUE]…: the
// latents after each step.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "eav/safetensors.h"
#include "models/family.h"
#include "options/json.h"
#include "pipeline/memory.h"
#include "pipeline/registry.h"

namespace {

using Arguments = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Bytes, by the name of a line in /proc/self/status.
int64_t status(const std::string& wanted) {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with(wanted + ":")) return std::stoll(line.substr(wanted.size() + 1)) * 1024;
  throw std::runtime_error("no " + wanted + " in /proc/self/status");
}

// Gives back what was freed, so that the next phase begins as a process does, and forgets the most so far.
int64_t start_counting() {
  eav::give_freed_memory_back();
  std::ofstream("/proc/self/clear_refs") << 5;
  return status("VmRSS");
}

// Loads the libraries' code that any phase runs.
void warm_up() {
  const auto x = at::randn({1, 16, 4, 64, 64});
  at::conv3d(x, at::randn({16, 16, 3, 3, 3}));
  const auto y = at::randn({1, 2, 128, 32});
  at::scaled_dot_product_attention(y, y, y);
  at::linear(at::randn({512, 512}), at::randn({512, 512}));
}

// A checkpoint and what is asked of it.
struct Case {
  std::shared_ptr<eav::Family> family;
  std::unique_ptr<eav::VideoJob> job;
  eav::Placement placement;

  // A folder, with its latent_upsampler/ where it has one.
  static eav::ModelPaths paths(const std::filesystem::path& model) {
    const auto upsampler = model / "latent_upsampler";
    return {.model = model,
            .latent_upscaler = std::filesystem::exists(upsampler) ? upsampler : std::filesystem::path()};
  }
  // Arguments from `first` on: MODEL, then options.
  Case(const Arguments& arguments, size_t first) : family(eav::open_family(paths(arguments.at(first)))) {
    const auto specs = family->options({});
    eav::Settings values;
    auto dtype = eav::Dtype::float32;
    bool forced = false;
    bool offload = false;
    auto quantize = eav::Quantize::none;
    at::Device device = at::kCPU;
    at::set_num_threads(2);
    for (size_t i = first + 1; i + 1 < arguments.size(); i += 2) {
      const auto name = arguments[i].substr(2), &value = arguments[i + 1];
      if (name == "dtype" || name == "compute") {
        dtype = eav::parse_dtype(value);
        forced = name == "compute";
      } else if (name == "threads") {
        at::set_num_threads(std::stoi(value));
      } else if (name == "device") {
        device = eav::parse_device(value);
      } else if (name == "quantize") {
        quantize = eav::parse_quantize(value);
      } else if (name == "offload") {
        offload = true;
      } else {
        const auto spec = std::ranges::find(specs, name, &eav::OptionSpec::name);
        if (spec == specs.end()) throw std::runtime_error("no option " + name);
        // A word that is no JSON is a string.
        auto json = nlohmann::json::parse(value, nullptr, /*allow_exceptions=*/false);
        if (json.is_discarded()) json = value;
        values[name] = eav::value_of_json(*spec, json);
      }
    }
    job = family->open({.values = values, .standards = {}});
    if (job->options().vae_tiling == eav::VaeTiling::automatic) job->choose_tiling(eav::VaeTiling::off);
    placement = eav::place(dtype, device, family->parts(eav::Phase::transformer)[0]->stored_type());
    placement.offload = offload;
    placement.quantize = quantize;
    if (forced) placement.compute = placement.storage;
    family->place(placement);
  }
};

}  // namespace

void phase(const Arguments& arguments) {
  const auto& name = arguments.at(0);
  eav::keep_freed_memory();  // as the program does
  warm_up();
  auto given = Case(arguments, 1);
  auto& job = *given.job;
  const auto plan = eav::plan_memory(job, given.placement);
  eav::Progress progress;

  auto before = start_counting();
  auto start = Clock::now();
  const auto report = [&](const eav::MemoryPlan::Phase& planned) {
    std::cout << nlohmann::json{{"measured", status("VmHWM") - before},
                                {"planned", planned.total()},
                                {"weights", planned.weights},
                                {"seconds", since(start)}}
              << '\n';
  };
  job.encode(progress);
  if (name == "text_encoder") return report(plan.text_encoder);
  given.family->release(eav::Phase::text_encoder);

  before = start_counting();
  start = Clock::now();
  const auto denoised = job.denoise(progress, {}, {});
  if (name == "transformer") return report(plan.transformer);
  given.family->release(eav::Phase::transformer);

  before = start_counting();
  start = Clock::now();
  job.decode(denoised, progress);
  report(plan.vae.value());
}

void plan(const Arguments& arguments) {
  const auto given = Case(arguments, 0);
  eav::plan_memory(*given.job, given.placement);  // reads the table of tensors
  const auto start = Clock::now();
  const auto plan = eav::plan_memory(*given.job, given.placement);
  const auto seconds = since(start);
  std::cout << nlohmann::json{{"text_encoder", plan.text_encoder.total()},
                              {"transformer", plan.transformer.total()},
                              {"vae", plan.vae.value().total()},
                              {"seconds", seconds}}
            << '\n';
}

void latents(Arguments arguments) {
  const auto out = std::ranges::find(arguments, "--out");
  const auto file = *std::next(out);
  arguments.erase(out, std::next(out, 2));
  const auto given = Case(arguments, 0);
  eav::Progress progress;
  given.job->encode(progress);
  std::map<std::string, at::Tensor> steps;
  const auto keep = [&](const eav::SavedState& state) {
    steps["step " + std::to_string(steps.size())] = state.tensor("latents").to(at::kCPU, at::kFloat);
  };
  given.job->denoise(progress, {.from = {}, .keep = keep}, {});
  eav::save_safetensors(file, steps, {});
}
