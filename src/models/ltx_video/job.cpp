#include "models/ltx_video/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/ltx_video/noise_levels.h"
#include "nn/planned.h"
#include "options/sizes.h"
#include "sampling/sample.h"
#include "sampling/stages.h"
#include "text/prompt.h"

namespace eav::ltx_video {
namespace {

// How large the first of two passes makes pictures, to the release's seven digits: 1152 pixels become 736, not 768.
constexpr double kFirstPassScale = 0.6666666;

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

// A video [1, 3, F, H, W] at the size that was asked for, brought to it as the release does: after its values are cut
// off. Frame by frame, as copies of a long video take memory.
Tensor resized(const Tensor& video, int64_t height, int64_t width) {
  if (video.size(3) == height && video.size(4) == width) return video;
  const auto frames = at::empty({1, video.size(1), video.size(2), height, width}, video.options().dtype(at::kFloat));
  for (int64_t t = 0; t < video.size(2); ++t)
    frames.select(2, t).copy_(at::upsample_bilinear2d(video.select(2, t).to(at::kFloat).clamp(-1, 1), {height, width},
                                                      /*align_corners=*/false));
  return frames;
}

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
  Guidance guidance(const Step& step) const override {
    if (!guided(step)) return {};
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
    const bool pair = guided(step);
    const auto input = (pair ? at::cat({latents, latents}) : latents).to(where_.compute);
    return transformer_(input, {timesteps_[step.index], start_.tokens}, pair ? inputs_ : inputs_.prompt_alone(), step)
        .to(at::kFloat);
  }

  Tensor after_step(const Tensor& next, const Tensor& input, const Step& step) const override {
    return options_.conditions.empty() ? next : choose(level(step) - 1e-6 < 1 - kept_, next, input);
  }

 private:
  bool guided(const Step& step) const { return options_.guided() && options_.guides(step.index, step.count); }
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

LtxJob::LtxJob(std::shared_ptr<Model> opened, Options options, double scale)
    : JobOf(std::move(opened), std::move(options)) {
  const auto& o = asked();
  const auto pixels = model().vae_config.spatial_compression(), frames = model().vae_config.temporal_compression();
  o.check_layers(model().config.num_layers);
  check_size("width", o.width, pixels);
  check_size("height", o.height, pixels);
  check_frames(o.frames, frames);
  const auto scaled = [&](const char* name, int64_t value) {
    const auto latents = static_cast<int64_t>(static_cast<double>(value) * scale) / pixels;
    if (latents < 1)
      throw Error(name, fmt::format("{} is {}, expected at least {}: the first of two passes makes a smaller video",
                                    name, value, 2 * pixels));
    return latents;
  };
  size_ = {.channels = model().config.in_channels,
           .frames = (o.frames - 1) / frames + 1,
           .height = scaled("height", o.height),
           .width = scaled("width", o.width),
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
  for (const auto& size : sizes()) {
    auto& conditions = encodings.conditions.emplace_back();
    for (const auto& picture : pictures_) conditions.push_back(encode_condition(picture, size, progress));
  }
  forget_pictures();
  return encodings;
}

EncodedCondition LtxJob::encode_condition(const Picture& picture, const LatentSize& size, Progress& progress) const {
  const auto& [condition, shown] = picture;
  const auto first = condition.frame_index.value_or(0), ratio = size.frame_ratio;
  auto frames = fit(picture, size.height * size.pixel_ratio, size.width * size.pixel_ratio, asked().image_fit, progress,
                    asked().frames - first);
  frames = frames.slice(0, 0, (frames.size(0) - 1) / ratio * ratio + 1);
  const auto& where = model().vae_encoder.placement();
  const auto [mean, std] = (*model().vae_encoder)(to_video(frames).to(where.device, where.compute), tiles(), progress);
  return {to_host(mean), to_host(std), first, condition.strength.value_or(1)};
}

Denoised LtxJob::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  const auto begin = start(generator);
  const auto schedule = scheduler(begin);
  Enhancer enhancer(asked().enhance, schedule->steps(), model().config.num_layers);
  const auto tokens = run(begin, *schedule, size_, {enhancer, size_.grid(), generator, progress, saving, watch});
  return {latents_of(tokens), generator, enhancer.trace()};
}

Tensor LtxJob::run(const Start& begin, Scheduler& schedule, const LatentSize& size, SamplingContext context) const {
  LtxDenoiser denoiser(model(), asked(), encodings().caption, begin, schedule, context.generator);
  context.cache = asked().cache;
  context.watch = in_layout(context.watch, [&](const Tensor& x) { return unpack(x.slice(1, begin.conditions), size); });
  // Latents stay in float32 between the steps, whatever the model computes in.
  const auto tokens = sample(denoiser, schedule, begin.latents.to(model().transformer.placement().device), context);
  return tokens.slice(1, begin.conditions);
}

Tensor LtxJob::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(decode_video(video_of(denoised.latents), denoised.generator, progress));
}

std::vector<int64_t> LtxJob::sample_shape() const {
  auto shape = sizes().back().shape();
  shape[2] = std::min(shape[2], kSampleFrames);
  return shape;
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
  const auto& conditions = encodings().conditions[0];
  if (!asked().init_latents.empty()) {
    const auto given = load_latents(asked().init_latents, {1, size_.tokens(), size_.channels}).to(start_options());
    return start_from_latents(given, size_, conditions.empty() ? 0 : 1);
  }
  if (!conditions.empty()) return start_from_image(conditions[0], size_, generator);
  return start_from_latents(pack(draw_noise(size_.shape(), generator, start_options())), size_);
}

// ---- with pictures and clips anywhere -------------------------------------------------------------------------------

ConditionJob::ConditionJob(std::shared_ptr<Model> opened, Options options, double scale)
    : LtxJob(std::move(opened), std::move(options), scale) {
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
  load_latents(o.init_latents, size_.shape());
}

FlowMatchEulerScheduler ConditionJob::schedule() const {
  const auto& o = asked();
  FlowMatchEulerScheduler schedule(model().layout.scheduler_config, o.flow_shift);
  check_flow_shift(schedule, o);
  const auto skipped = o.steps - static_cast<int64_t>(static_cast<double>(o.steps) * o.denoise_strength);
  if (skipped >= o.steps)
    throw Error("denoise_strength",
                fmt::format("a denoise strength of {} leaves none of {} steps", o.denoise_strength, o.steps));
  // The last steps of the first of two passes: after it noise is added again.
  const auto left_out = o.of.passes ? o.of.passes->schedule - o.of.passes->first : 0;
  if (!o.timesteps.empty())
    schedule.set_timesteps(at::tensor(o.timesteps, at::kDouble));
  else
    schedule.set_timesteps(linear_quadratic_sigmas(o.steps + left_out).slice(0, 0, o.steps).to(at::kFloat) *
                           kTrainSteps);
  schedule.skip(skipped);
  return schedule;
}

std::unique_ptr<Scheduler> ConditionJob::scheduler(const Start& start) const {
  return std::make_unique<TokenwiseEuler>(schedule(), start, model().transformer.placement().device);
}

Start ConditionJob::start(at::Generator& generator) const {
  std::optional<Tensor> given;
  if (!asked().init_latents.empty()) given = load_latents(asked().init_latents, size_.shape());
  return start_from(given, schedule(), 0, generator);
}

Start ConditionJob::start_from(const std::optional<Tensor>& latents, const FlowMatchEulerScheduler& schedule,
                               size_t pass, at::Generator& generator) const {
  const auto size = sizes()[pass];
  auto noisy = draw_noise(size.shape(), generator, start_options());
  if (latents) {
    const auto sigma = schedule.sigmas()[0];
    noisy = sigma * noisy + (1 - sigma) * latents->to(start_options());
  }
  return start_from_conditions(noisy, encodings().conditions[pass], size, generator);
}

// ---- in two passes --------------------------------------------------------------------------------------------------

TwoPassJob::TwoPassJob(std::shared_ptr<Model> opened, Options options)
    : ConditionJob(std::move(opened), std::move(options), kFirstPassScale) {
  if (asked().cache.kind == CacheOptions::Kind::mag)
    throw Error("cache", "a video in two passes has two schedules, and mag serves one: take easy or first-block");
  second_schedule();
}

std::vector<LatentSize> TwoPassJob::sizes() const {
  auto second = size_;
  second.height *= 2, second.width *= 2;
  return {size_, second};
}

FlowMatchEulerScheduler TwoPassJob::second_schedule() const {
  FlowMatchEulerScheduler schedule(model().layout.scheduler_config, asked().flow_shift);
  schedule.set_timesteps(at::tensor(asked().second_pass_timesteps, at::kDouble));
  return schedule;
}

Denoised TwoPassJob::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  const auto& where = model().transformer.placement();
  const auto layers = model().config.num_layers;
  at::Generator generator = at::detail::createCPUGenerator(asked().seed);
  const bool first_is_done = saving.from && saving.from->whole("pass", 1, 2) == 2;
  const auto saving_of_pass = [&](int64_t pass, bool resumed, SavedState before) {
    before.tensors["pass"] = at::scalar_tensor(pass, at::kLong);
    return saving_of_run(saving, resumed ? saving.from : std::nullopt, std::move(before));
  };

  Enhancer of_first(asked().enhance, schedule().steps(), layers);
  Tensor latents;  // of the first pass [1, C, F, h, w]
  if (first_is_done) {
    const auto first = saving.from->part("first.");
    latents = first.like("latents", at::empty(size_.shape(), at::TensorOptions(at::kFloat).device(where.device)));
    generator.set_state(first.like("generator", generator.get_state()));
    of_first.load(first.part("enhancer."));
  } else {
    progress.phase("transformer, pass 1 of 2");
    const auto begin = start(generator);
    const auto schedule = scheduler(begin);
    latents = unpack(
        run(begin, *schedule, size_,
            {of_first, size_.grid(), generator, progress, saving_of_pass(1, saving.from.has_value(), {}), watch}),
        size_);
  }
  SavedState first{{{"first.latents", latents}, {"first.generator", generator.get_state()}}};
  first.add("first.enhancer.", of_first.save());

  progress.phase("latent upscaler");
  const auto larger = upsample(latents, progress);
  if (!where.together) parts(Phase::transformer).back()->release();

  progress.phase("transformer, pass 2 of 2");
  const auto size = sizes()[1];
  auto second = second_schedule();
  const auto begin = start_from(larger, second, 1, generator);
  TokenwiseEuler schedule(std::move(second), begin, where.device);
  Enhancer of_second(asked().enhance, schedule.steps(), layers);
  const auto tokens =
      run(begin, schedule, size,
          {of_second, size.grid(), generator, progress, saving_of_pass(2, first_is_done, std::move(first)), watch});
  return {unpack(tokens, size), generator, joined_traces(std::array{of_first.trace(), of_second.trace()})};
}

Tensor TwoPassJob::upsample(const Tensor& latents, const Progress& progress) const {
  const auto& part = *model().latent_upsampler;
  const auto& statistics = *model().statistics;
  const auto small = statistics.denormalize(latents);
  auto large = (*part)(small.to(part.placement().compute), progress).to(at::kFloat);
  large = adain(large, small, asked().adain_factor);
  return statistics.normalize(tone_mapped(large, asked().tone_map_compression_ratio));
}

Tensor TwoPassJob::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(
      resized(decode_video(denoised.latents, denoised.generator, progress), asked().height, asked().width));
}

}  // namespace eav::ltx_video
