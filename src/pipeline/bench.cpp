#include "eav/bench.h"

#include <ATen/ATen.h>
#include <c10/core/InferenceMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/gpu.h"
#include "eav/fast.h"
#include "models/job.h"
#include "nn/attention.h"
#include "options/json.h"
#include "weights/int8.h"
#include "weights/placement.h"
#include "weights/weights.h"

namespace eav {

// Who may ask a generator for models that are only measured.
class Bencher {
 public:
  static VideoJob& probe(const Generator& generator, const Job& job, const std::shared_ptr<BlockProbe>& probe) {
    return generator.probe(job, probe);
  }
};

namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

at::ScalarType scalar_type(Dtype dtype) {
  return dtype == Dtype::bfloat16 ? at::kBFloat16 : dtype == Dtype::float16 ? at::kHalf : at::kFloat;
}

// Seconds of the faster of two runs, after a first one.
template <class Work>
double time_of(const Work& work, at::Device device) {
  work();
  wait_for(device);
  double least = 0;
  for (int i = 0; i < 2; ++i) {
    const auto start = Clock::now();
    work();
    wait_for(device);
    least = i == 0 ? since(start) : std::min(least, since(start));
  }
  return least;
}

// In which a model may compute.
struct Arithmetic {
  Dtype dtype;
  Quantize quantize = Quantize::none;
  std::string name() const { return quantize == Quantize::none ? to_string(dtype) : to_string(quantize); }
};

MachineRate rate_of(const Arithmetic& arithmetic, at::Device device) {
  constexpr int64_t kRows = 2048, kIn = 1920, kOut = 7680, kHeads = 8, kTokens = 4096, kSize = 64;
  const auto options = at::TensorOptions(scalar_type(arithmetic.dtype)).device(device);
  const auto random = [&](at::IntArrayRef shape) { return at::randn(shape, at::kFloat).to(options); };
  const auto x = random({kRows, kIn}), w = random({kOut, kIn});
  const auto q = random({1, kHeads, kTokens, kSize}), k = random(q.sizes()), v = random(q.sizes());
  double linear = 0;
  if (arithmetic.quantize == Quantize::int8) {
    const auto rows = w.to(at::kFloat);
    const auto matrix =
        in_tiles(quantized_to_int8(kOut, kIn, [&](int64_t at, int64_t n) { return rows.narrow(0, at, n); }));
    const auto y = at::empty({kRows, kOut}, options);
    linear = time_of([&] { multiply(matrix, x, std::nullopt, y, false); }, device);
  } else {
    linear = time_of([&] { at::linear(x, w); }, device);
  }
  return {arithmetic.name(), 2e-9 * kRows * kIn * kOut / linear,
          4e-9 * kHeads * kTokens * kTokens * kSize / time_of([&] { attend(q, k, v); }, device)};
}

// Ends a denoising after its second step, and knows when each was done.
class TwoSteps : public Progress {
 public:
  explicit TwoSteps(const Progress& outer) : outer_(outer) {}
  void step(int64_t, int64_t) override { ends_.push_back(Clock::now()); }
  bool cancelled() const override { return ends_.size() >= 2 || outer_.cancelled(); }
  bool are_done() const { return ends_.size() >= 2; }
  double second() const { return std::chrono::duration<double>(ends_.at(1) - ends_.at(0)).count(); }

 private:
  const Progress& outer_;
  std::vector<Clock::time_point> ends_;
};

// Seconds in one step, at a number of tokens.
struct StepTime {
  int64_t tokens = 0;
  std::map<std::string, double> blocks;  // one of each kind, in all branches
  double rest = 0;                       // what stands around the blocks
  double all() const {
    return std::accumulate(blocks.begin(), blocks.end(), rest,
                           [](double sum, const auto& b) { return sum + b.second; });
  }
};

// What a + b * tokens, fitted to the time of a token at the two largest sizes, makes of the asked size.
template <class Of>
double at_size(const std::vector<StepTime>& times, int64_t tokens, const Of& of) {
  const auto& last = times.back();
  const auto n = static_cast<double>(last.tokens), asked = static_cast<double>(tokens);
  const double per_token = of(last) / n;
  if (times.size() < 2 || last.tokens == tokens) return per_token * asked;
  const auto& before = times[times.size() - 2];
  const double n_before = static_cast<double>(before.tokens);
  const double slope = std::max(0.0, (per_token - of(before) / n_before) / (n - n_before));
  return (per_token + slope * (asked - n)) * asked;
}

// One type of arithmetic.
class Estimator {
 public:
  Estimator(const ModelPaths& paths, const Runtime& runtime, const Request& request, Progress& progress)
      : generator_(paths, runtime), progress_(progress), device_(parse_device(runtime.device)) {
    auto asked = request;
    if (asked.prompt.empty()) asked.prompt = "a red fox runs through fresh snow under tall pines, the sun behind it";
    auto job = generator_.open(asked);
    job.check_complete();
    asked_ = job.request();
    size_ = job.video_size();
    tokens_ = job.grid().tokens();
  }

  const Request& request() const { return asked_; }
  VideoSize size() const { return size_; }
  int64_t tokens() const { return tokens_; }

  TimeEstimate estimate(const std::string& type) {
    TimeEstimate estimate{.type = type, .blocks = {}, .tokens = {}};
    const auto times = time_steps(estimate);
    for (const auto& time : times) estimate.tokens.push_back(time.tokens);
    estimate.step = at_size(times, tokens_, [](const StepTime& t) { return t.rest; });
    for (const auto& [name, count] : counts_) {
      const auto seconds = at_size(times, tokens_, [&, &name = name](const StepTime& t) { return t.blocks.at(name); });
      estimate.blocks.push_back({name, count, seconds});
      estimate.step += static_cast<double>(count) * seconds;
    }
    estimate.transformer = estimate.step * static_cast<double>(*asked_.steps);
    if (!asked_.latents_only) estimate.vae = time_vae();
    return estimate;
  }

 private:
  static constexpr int64_t kFewTokens = 1200;  // where timing begins
  static constexpr double kLongest = 8;        // seconds of one timing

  // The request with a part of its area, and where that is not little enough, of its frames.
  Request smaller(double part) const {
    constexpr double kUnit = 32, kLeast = 64;
    auto request = asked_;
    const auto side = [&](int64_t length) {
      const auto shorter = std::round(static_cast<double>(length) * std::sqrt(part) / kUnit) * kUnit;
      return std::min(length, static_cast<int64_t>(std::max(shorter, kLeast)));
    };
    request.width = side(*request.width);
    request.height = side(*request.height);
    request.steps = std::max<int64_t>(*request.steps, 2);
    return request;
  }

  // The job of a part of the size; nothing where the model takes no such size.
  std::optional<Job> job_of(double part) const {
    try {
      auto request = part < 1 ? smaller(part) : asked_;
      request.steps = std::max<int64_t>(*request.steps, 2);
      request.latents_only = true;
      return generator_.open(request);
    } catch (const Error&) {
      if (part == 1) throw;
      return std::nullopt;
    }
  }

  // At sizes that grow as long as the next one takes no more than kLongest.
  std::vector<StepTime> time_steps(TimeEstimate& estimate) {
    struct Size {
      Job job;
      int64_t tokens;
    };
    std::vector<Size> sizes;  // from small to large
    for (int64_t parts = 256; parts >= 1; parts /= 2)
      if (const auto job = job_of(1 / static_cast<double>(parts));
          job && (sizes.empty() || job->grid().tokens() > sizes.back().tokens))
        sizes.push_back({*job, job->grid().tokens()});
    auto next = std::ranges::find_if(sizes, [](const Size& size) { return size.tokens >= kFewTokens; });
    if (next == sizes.end() || (next != sizes.begin() && next->tokens > 2 * kFewTokens)) --next;
    std::vector<StepTime> times;
    while (next != sizes.end()) {
      times.push_back(time_step(next->job, times.empty() ? &estimate : nullptr));
      const auto& last = times.back();
      // The largest that would not take too long, were attention all of it.
      const auto affordable =
          std::find_if(sizes.rbegin(), std::reverse_iterator(std::next(next)), [&](const Size& size) {
            const auto more = static_cast<double>(size.tokens) / static_cast<double>(last.tokens);
            return 2 * last.all() * more * more <= kLongest;
          });
      next = affordable == std::reverse_iterator(std::next(next)) ? sizes.end() : std::prev(affordable.base());
    }
    return times;
  }

  StepTime time_step(const Job& job, TimeEstimate* with_text) {
    const auto probe = std::make_shared<BlockProbe>();
    auto& video = Bencher::probe(generator_, job, probe);
    Watcher quiet(progress_);
    video.encode(quiet);
    if (with_text != nullptr)
      for (const auto& [name, list] : probe->lists)  // the last run finds its weights in memory
        if (!list.seconds.empty())
          with_text->text_encoder +=
              static_cast<double>(list.count) * static_cast<double>(list.seconds.size()) * list.seconds.back();
    probe->lists.clear();
    TwoSteps steps(progress_);
    try {
      video.denoise(steps, {}, {});
    } catch (const Cancelled&) {
      if (!steps.are_done()) throw;
    }
    StepTime time{.tokens = job.grid().tokens(), .blocks = {}, .rest = steps.second()};
    for (const auto& [prefix, list] : probe->lists) {
      // The runs of the second step: as many as those of the first.
      const auto half = static_cast<std::ptrdiff_t>(list.seconds.size() / 2);
      const auto name = prefix.substr(0, prefix.size() - 1);
      time.blocks[name] = std::accumulate(list.seconds.end() - half, list.seconds.end(), 0.0);
      time.rest -= time.blocks[name];
      counts_[name] = list.count;
    }
    time.rest = std::max(time.rest, 0.0);
    return time;
  }

  // Of a piece of latents that takes some tenths of a second, in proportion to the video's pixels.
  double time_vae() {
    auto request = asked_;
    request.latents_only = false;
    const auto job = generator_.open(request);
    auto& video = Bencher::probe(generator_, job, std::make_shared<BlockProbe>());
    Watcher quiet(progress_);
    auto shape = video.sample_shape();  // [1, C, F, h, w]
    const auto height = shape[3], width = shape[4];
    for (int64_t side = 8;; side *= 2) {
      shape[3] = std::min(side, height);
      shape[4] = std::min(side, width);
      const auto latents = at::randn(shape).to(device_);
      at::Tensor frames;
      const auto run = [&] { frames = video.decode_sample(latents, quiet); };  // -> [1, 3, frames, H, W]
      run();
      const auto start = Clock::now();
      run();
      wait_for(device_);
      const auto seconds = since(start);
      if (seconds < 0.3 && (side < height || side < width)) continue;
      const auto pixels = static_cast<double>(frames.size(2) * frames.size(3) * frames.size(4));
      return seconds * static_cast<double>(size_.frames * size_.height * size_.width) / pixels;
    }
  }

  // Passes on that a run is to stop, and no more.
  struct Watcher : Progress {
    explicit Watcher(const Progress& outer) : outer(outer) {}
    bool cancelled() const override { return outer.cancelled(); }
    const Progress& outer;
  };

  Generator generator_;
  Progress& progress_;
  at::Device device_;
  Request asked_;
  VideoSize size_{};
  int64_t tokens_ = 0;
  std::map<std::string, int64_t> counts_;  // of blocks, by kind
};

std::vector<Arithmetic> arithmetics_of(const Runtime& runtime, at::Device device) {
  const bool bfloat16 = !device.is_cpu() || cpu_has(at::kBFloat16);
  if (runtime.dtype != Dtype::automatic) return {{runtime.dtype, runtime.quantize}};
  const auto dtype = bfloat16 ? Dtype::bfloat16 : Dtype::float32;
  if (runtime.quantize != Quantize::none) return {{dtype, runtime.quantize}};
  std::vector<Arithmetic> all{{Dtype::float32}};
  if (bfloat16) all.push_back({Dtype::bfloat16});
  if (device.is_cpu() && int8_is_fast()) all.push_back({dtype, Quantize::int8});
  return all;
}

}  // namespace

BenchReport bench(const ModelPaths& paths, const Runtime& runtime, const Request& request, Progress& progress) {
  const c10::InferenceMode no_autograd;
  const auto device = parse_device(runtime.device);
  const auto arithmetics = arithmetics_of(runtime, device);
  BenchReport report;
  const auto units = static_cast<int64_t>(2 * arithmetics.size());
  int64_t done = 0;
  progress.phase("timing");
  const auto step = [&] {
    progress.step(++done, units);
    progress.check();
  };
  for (const auto& arithmetic : arithmetics) {
    auto typed = runtime;
    typed.dtype = arithmetic.dtype;
    typed.quantize = arithmetic.quantize;
    Estimator estimator(paths, typed, request, progress);
    if (report.estimates.empty()) {
      report.request = estimator.request();
      report.size = estimator.size();
      report.tokens = estimator.tokens();
    }
    report.rates.push_back(rate_of(arithmetic, device));
    step();
    report.estimates.push_back(estimator.estimate(arithmetic.name()));
    step();
  }
  report.runtime = runtime;
  return report;
}

double TimeEstimate::with_fewer_steps() const { return text_encoder + kFewerSteps * transformer + vae; }

std::string BenchReport::to_json() const {
  using Json = nlohmann::ordered_json;
  const auto environment = eav::environment(runtime.device);
  Json json{{"cpu", environment.cpu}, {"threads", runtime.threads}, {"frames", size.frames},
            {"height", size.height},  {"width", size.width},        {"steps", *request.steps},
            {"tokens", tokens},       {"rates", Json::array()},     {"estimates", Json::array()}};
  if (!environment.gpu.empty()) json["gpu"] = environment.gpu;
  for (const auto& rate : rates)
    json["rates"].push_back(
        {{"type", rate.type}, {"linear_gflops", rate.linear}, {"attention_gflops", rate.attention}});
  for (const auto& estimate : estimates) {
    Json one{{"type", estimate.type}, {"timed_at_tokens", estimate.tokens}, {"blocks", Json::array()}};
    for (const auto& block : estimate.blocks)
      one["blocks"].push_back({{"name", block.name}, {"count", block.count}, {"seconds", block.seconds}});
    one["seconds"] = {{"step", estimate.step},
                      {"text_encoder", estimate.text_encoder},
                      {"transformer", estimate.transformer},
                      {"vae", estimate.vae},
                      {"video", estimate.video()},
                      {"with_fewer_steps", estimate.with_fewer_steps()}};
    json["estimates"].push_back(std::move(one));
  }
  return json.dump(2) + "\n";
}

}  // namespace eav
