#include "models/ltx_video/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>

#include "nn/planned.h"
#include "options/sizes.h"
#include "sampling/sample.h"
#include "text/prompt.h"

namespace eav::ltx_video {
namespace {

constexpr double kTrainSteps = 1000;  // timesteps are parts of these

// Noise levels of LTXConditionPipeline: the first half of the steps takes little away, the second more and more.
Tensor linear_quadratic_sigmas(int64_t steps) {
  constexpr double kThreshold = 0.025;  // of noise that the linear half takes away
  const auto sigmas = at::ones({steps}, at::kDouble);
  if (steps < 2) return sigmas;
  const int64_t half = steps / 2;
  const auto linear = static_cast<double>(half), quadratic = static_cast<double>(steps - half);
  const double difference = linear - kThreshold * static_cast<double>(steps);
  const double a = difference / (linear * quadratic * quadratic);
  const double b = kThreshold / linear - 2 * difference / (quadratic * quadratic);
  const double c = a * linear * linear;
  for (int64_t i = 1; i < steps; ++i) {
    const auto x = static_cast<double>(i);
    sigmas[i] = 1 - (x < linear ? x * kThreshold / linear : a * x * x + b * x + c);
  }
  return sigmas;
}

void check_flow_shift(const FlowMatchEulerScheduler& schedule, const Options& options) {
  if (options.flow_shift && schedule.shifts_dynamically())
    throw Error("flow_shift", "this LTX-Video chooses its flow shift by the size of the video: leave that option out");
}

// The timesteps of runs of tokens [steps, runs]: what is kept of a run holds it at a lower one.
Tensor timesteps_of_runs(const Scheduler& schedule, const Start& start) {
  return at::minimum(schedule.timesteps().unsqueeze(1), (1 - at::tensor(start.strengths, at::kFloat)) * kTrainSteps);
}

// Of each run's values [n, runs], those of each token [n, L, 1].
Tensor of_tokens(const Tensor& of_runs, const Start& start, at::Device device) {
  return of_runs.repeat_interleave(at::tensor(start.tokens), 1).to(device).unsqueeze(2);
}

// Where tokens are kept in part, each goes on from its own timestep.
class TokenwiseEuler : public Scheduler {
 public:
  TokenwiseEuler(FlowMatchEulerScheduler schedule, const Start& start, at::Device device)
      : schedule_(std::move(schedule)) {
    const auto timesteps = timesteps_of_runs(schedule_, start);
    changes_ = of_tokens(schedule_.change_from(timesteps.flatten()).view_as(timesteps), start, device);
    levels_ = of_tokens(timesteps / kTrainSteps, start, device);
  }

  const Tensor& timesteps() const override { return schedule_.timesteps(); }
  Tensor step(const Tensor& predicted, int64_t index, const Tensor& latents, at::Generator& /*generator*/) override {
    return latents + changes_[index] * predicted;
  }
  Tensor denoised(const Tensor& predicted, int64_t index, const Tensor& latents) const override {
    return latents - levels_[index] * predicted;
  }

 private:
  FlowMatchEulerScheduler schedule_;
  Tensor changes_, levels_;  // of tokens' noise [steps, L, 1]
};

class LtxDenoiser : public Denoiser {
 public:
  LtxDenoiser(const Model& model, const Options& options, const Caption& caption, const Start& start,
              const Scheduler& schedule, at::Generator& generator)
      : transformer_(*model.transformer),
        where_(model.transformer.placement()),
        options_(options),
        start_(start),
        generator_(generator),
        inputs_(transformer_.prepare(caption, start.positions, start.conditions)),
        timesteps_(timesteps_of_runs(schedule, start).to(where_.device)),
        levels_((schedule.timesteps() / kTrainSteps).to(where_.device)),
        kept_(of_tokens(at::tensor(start.strengths, at::kFloat).unsqueeze(0), start, where_.device)[0]),
        first_(start.latents.to(where_.device)) {}

  // Unconditional and conditional in one batch: they share the mean of their CFI.
  Guidance guidance(const Step& /*step*/) const override {
    if (!options_.guided()) return {};
    return {.branches = Guidance::Branches::pair,
            .scale = options_.guidance,
            .rescale = options_.guidance_rescale,
            .prompt_row = 1};
  }

  Tensor before_step(const Tensor& latents, const Step& step) override {
    if (options_.conditions.empty() || options_.image_cond_noise_scale == 0) return latents;
    // Noise helps motion begin at frames that are kept whole.
    const auto noise = draw_noise(latents.sizes(), generator_, latents.options());
    return choose(kept_ > 1 - 1e-6, first_ + options_.image_cond_noise_scale * noise * level(step).square(), latents);
  }

  Tensor predict(const Tensor& latents, Step& step) override {
    const auto input = (options_.guided() ? at::cat({latents, latents}) : latents).to(where_.compute);
    return transformer_(input, {timesteps_[step.index], start_.tokens}, inputs_, step).to(at::kFloat);
  }

  Tensor after_step(const Tensor& next, const Tensor& input, const Step& step) const override {
    return options_.conditions.empty() ? next : choose(level(step) - 1e-6 < 1 - kept_, next, input);
  }

 private:
  Tensor level(const Step& step) const { return levels_.narrow(0, step.index, 1); }

  const Transformer& transformer_;
  const Placement& where_;
  const Options& options_;
  const Start& start_;
  at::Generator& generator_;
  Transformer::Inputs inputs_;
  Tensor timesteps_;  // of runs of tokens [steps, runs]
  Tensor levels_;     // of noise [steps]
  Tensor kept_;       // [L, 1]: how much of each token is kept
  Tensor first_;      // the latents that denoising begins with
};

}  // namespace

// ---- what both have in common ---------------------------------------------------------------------------------------

LtxJob::LtxJob(std::shared_ptr<Model> opened, Options options) : JobOf(std::move(opened), std::move(options)) {
  const auto& o = asked();
  const auto pixels = model().vae_config.spatial_compression(), frames = model().vae_config.temporal_compression();
  o.check_layers(model().config.num_layers);
  check_size("width", o.width, pixels);
  check_size("height", o.height, pixels);
  check_frames(o.frames, frames);
  size_ = {.channels = model().config.in_channels,
           .frames = (o.frames - 1) / frames + 1,
           .height = o.height / pixels,
           .width = o.width / pixels,
           .frame_ratio = frames,
           .pixel_ratio = pixels,
           .fps = o.fps};
  if (o.conditions.empty()) return;
  model().encoder_config();
  pictures_ = model().pictures.read(o.conditions, o.frames);
}

Caption LtxJob::embed(const std::string& prompt, Progress& progress) const {
  const auto& where = model().text_encoder.placement();
  const auto tokens = tokenize(model().tokenizer, prompt, caption_tokens(), where.device);
  warn_of_cut(tokens.cut, caption_tokens(), progress);
  // The video does not attend to padding; the caption's tokens among themselves do, except in LTXConditionPipeline.
  const auto mask = masks_captions() ? std::optional(tokens.mask) : std::nullopt;
  const auto embeddings = (*model().text_encoder)(tokens.ids, mask, where.compute, progress);
  return {embeddings.to(model().transformer.placement().compute), tokens.mask.to(where.device)};
}

Encodings LtxJob::read_encodings(Progress& progress) {
  Encodings encodings{embed(asked().prompt, progress), {}};
  if (asked().guided()) {
    const auto negative = embed(asked().negative_prompt.value_or(""), progress);
    const auto& prompt = encodings.caption;
    encodings.caption = {at::cat({negative.tokens, prompt.tokens}), at::cat({negative.mask, prompt.mask})};
  }
  if (!pictures_.empty()) progress.phase("vae encoder");
  for (const auto& picture : pictures_) encodings.conditions.push_back(encode_condition(picture, progress));
  forget_pictures();
  return encodings;
}

EncodedCondition LtxJob::encode_condition(const Picture& picture, Progress& progress) const {
  const auto& [condition, shown] = picture;
  const auto first = condition.frame_index.value_or(0), ratio = size_.frame_ratio;
  auto frames = fit(picture, asked().height, asked().width, asked().image_fit, progress, asked().frames - first);
  frames = frames.slice(0, 0, (frames.size(0) - 1) / ratio * ratio + 1);
  const auto& where = model().vae_encoder.placement();
  const auto [mean, std] = (*model().vae_encoder)(to_video(frames).to(where.device, where.compute), tiles(), progress);
  return {to_host(mean), to_host(std), first, condition.strength.value_or(1)};
}

Denoised LtxJob::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  const auto begin = start(generator);
  const auto schedule = scheduler(begin);
  LtxDenoiser denoiser(model(), asked(), encodings().caption, begin, *schedule, generator);
  Enhancer enhancer(asked().enhance, schedule->steps(), model().config.num_layers);
  const auto shown = [&](const Tensor& x) { return unpack(x.slice(1, begin.conditions), size_); };
  // Latents stay in float32 between the steps, whatever the model computes in.
  const auto tokens =
      sample(denoiser, *schedule, begin.latents.to(model().transformer.placement().device),
             {enhancer, grid(), generator, progress, saving, in_layout(watch, shown)});  // [1, L, in_channels]
  return {latents_of(tokens.slice(1, begin.conditions)), generator, enhancer.trace()};
}

Tensor LtxJob::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(decode_video(video_of(denoised.latents), denoised.generator, progress));
}

std::vector<int64_t> LtxJob::sample_shape() const {
  return {1, size_.channels, std::min(size_.frames, kSampleFrames), size_.height, size_.width};
}

Tensor LtxJob::decode_sample(const Tensor& latents, Progress& progress) const {
  return decode_video(latents.to(model().vae.placement().device), at::detail::createCPUGenerator(0), progress);
}

Tensor LtxJob::decode_video(const Tensor& latents, const at::Generator& after, Progress& progress) const {
  const auto& where = model().vae.placement();
  auto z = model().vae->denormalize(latents).to(where.compute);
  std::optional<Tensor> timestep;
  std::optional<at::Generator> injected;
  if (model().vae_config.timestep_conditioning) {
    auto generator = after.clone();  // goes on drawing where denoising ended
    const auto noise = draw_noise(z.sizes(), generator, z.options());
    // The scale is rounded to the model's type before it is used, as the reference does it.
    const auto scale = at::full({1, 1, 1, 1, 1}, asked().decode_noise_scale, z.options());
    z = (1 - scale) * z + scale * noise;
    timestep = at::full({1}, asked().decode_timestep, z.options());
    injected = at::detail::createCPUGenerator(asked().seed);  // for noise inside the decoder
  }
  return model().vae->decode(z, timestep, tiles(), injected, progress);
}

// ---- from text, or a picture ----------------------------------------------------------------------------------------

TextJob::TextJob(std::shared_ptr<Model> opened, Options options) : LtxJob(std::move(opened), std::move(options)) {
  const auto& o = asked();
  if (o.conditions.size() > 1 || (!o.conditions.empty() && o.conditions[0].is_video))
    throw Error("conditions",
                "this LTX-Video takes a single image to begin with: several, and videos, need one from 0.9.5 on");
  if (!o.conditions.empty() &&
      (o.conditions[0].frame_index.value_or(0) != 0 || o.conditions[0].strength.value_or(1) != 1))
    throw Error("conditions", "this LTX-Video keeps an image as its first frame: leave frame index and strength out");
  schedule();
  if (!o.init_latents.empty()) load_latents(o.init_latents, {1, size_.tokens(), size_.channels});
}

FlowMatchEulerScheduler TextJob::schedule() const {
  FlowMatchEulerScheduler schedule(model().layout.scheduler_config, asked().flow_shift);
  check_flow_shift(schedule, asked());
  const auto n = asked().steps;
  schedule.set_sigmas(at::linspace(1, 1 / static_cast<double>(n), n, at::kDouble), size_.tokens());
  return schedule;
}

std::unique_ptr<Scheduler> TextJob::scheduler(const Start& /*start*/) const {
  return std::make_unique<FlowMatchEulerScheduler>(schedule());
}

Start TextJob::start(at::Generator& generator) const {
  const auto& conditions = encodings().conditions;
  if (!asked().init_latents.empty()) {
    const auto given = load_latents(asked().init_latents, {1, size_.tokens(), size_.channels}).to(start_options());
    return start_from_latents(given, size_, conditions.empty() ? 0 : 1);
  }
  if (!conditions.empty()) return start_from_image(conditions[0], size_, generator);
  const auto shape = {int64_t{1}, size_.channels, size_.frames, size_.height, size_.width};
  return start_from_latents(pack(draw_noise(shape, generator, start_options())), size_);
}

// ---- with pictures and clips anywhere -------------------------------------------------------------------------------

ConditionJob::ConditionJob(std::shared_ptr<Model> opened, Options options)
    : LtxJob(std::move(opened), std::move(options)) {
  const auto& o = asked();
  for (const auto& condition : o.conditions)
    if (const auto first = condition.frame_index.value_or(0); first < 0 || first >= o.frames)
      throw Error("conditions", fmt::format("'{}' is to begin at frame {}, but the video has frames 0 to {}",
                                            condition.file.string(), first, o.frames - 1));
  schedule();
  if (o.init_latents.empty()) return;
  if (o.denoise_strength == 1)
    throw Error("denoise_strength",
                "this LTX-Video takes initial latents to change them: give a `denoise_strength` below 1");
  load_latents(o.init_latents, latents_shape());
}

FlowMatchEulerScheduler ConditionJob::schedule() const {
  const auto& o = asked();
  FlowMatchEulerScheduler schedule(model().layout.scheduler_config, o.flow_shift);
  check_flow_shift(schedule, o);
  const auto skipped = o.steps - static_cast<int64_t>(static_cast<double>(o.steps) * o.denoise_strength);
  if (skipped >= o.steps)
    throw Error("denoise_strength",
                fmt::format("a denoise strength of {} leaves none of {} steps", o.denoise_strength, o.steps));
  if (!o.timesteps.empty())
    schedule.set_timesteps(at::tensor(o.timesteps, at::kDouble));
  else
    schedule.set_timesteps(linear_quadratic_sigmas(o.steps).to(at::kFloat) * kTrainSteps);
  schedule.skip(skipped);
  return schedule;
}

std::unique_ptr<Scheduler> ConditionJob::scheduler(const Start& start) const {
  return std::make_unique<TokenwiseEuler>(schedule(), start, model().transformer.placement().device);
}

Start ConditionJob::start(at::Generator& generator) const {
  auto latents = draw_noise(latents_shape(), generator, start_options());
  if (!asked().init_latents.empty()) {
    const auto sigma = schedule().sigmas()[0];
    latents = sigma * latents + (1 - sigma) * load_latents(asked().init_latents, latents_shape()).to(start_options());
  }
  return start_from_conditions(latents, encodings().conditions, size_, generator);
}

}  // namespace eav::ltx_video
