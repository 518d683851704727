#include "models/cogvideox/job.h"

#include <ATen/CPUGeneratorImpl.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "models/media.h"
#include "options/sizes.h"
#include "sampling/sample.h"
#include "schedulers/cogvideox.h"
#include "text/prompt.h"

namespace eav::cogvideox {
namespace {

// The scale of one step when it changes over time. Computed in double precision from steps minus timestep, as the
// reference does (the paper means the step's index; the reference passes the timestep).
double dynamic_guidance(double guidance, int64_t steps, int64_t timestep) {
  const auto n = static_cast<double>(steps);
  return 1 + guidance * ((1 - std::cos(std::numbers::pi * std::pow((n - static_cast<double>(timestep)) / n, 5.0))) / 2);
}

CogVideoXScheduler scheduler(const Model& model, const Options& options) {
  return {model.scheduler_config, CogVideoXScheduler::parse_kind(options.scheduler), options.steps};
}

// Latents are kept in the type of computing.
struct CogVideoXDenoiser : Denoiser {
  const Transformer& transformer;
  const Options& options;
  const Scheduler& schedule;
  Transformer::Inputs inputs;
  at::ScalarType compute;

  CogVideoXDenoiser(const Transformer& transformer, const Options& options, const Scheduler& schedule,
                    Transformer::Inputs inputs, at::ScalarType compute)
      : transformer(transformer), options(options), schedule(schedule), inputs(std::move(inputs)), compute(compute) {}

  bool guided(const Step& step) const { return options.guided() && options.guides(step.index, step.count); }
  int64_t timestep(const Step& step) const { return schedule.timesteps()[step.index].item<int64_t>(); }

  // Unconditional and conditional in one batch: they share the mean of their CFI.
  Guidance guidance(const Step& step) const override {
    if (!guided(step)) return {};
    return {.branches = Guidance::Branches::pair,
            .scale = options.dynamic_guidance ? dynamic_guidance(options.guidance, options.steps, timestep(step))
                                              : options.guidance,
            .prompt_row = 1};
  }
  Tensor predict(const Tensor& latents, Step& step) override {
    if (!guided(step)) return transformer(latents, timestep(step), inputs.prompt_alone(), step).to(at::kFloat);
    return transformer(at::cat({latents, latents}), timestep(step), inputs, step).to(at::kFloat);
  }
  Tensor after_step(const Tensor& next, const Tensor& /*input*/, const Step& /*step*/) const override {
    return next.to(compute);
  }
};

}  // namespace

Job::Job(std::shared_ptr<Model> opened, Options options) : JobOf(std::move(opened), std::move(options)) {
  const auto& c = model().config;
  const auto& o = asked();
  const auto pixels = model().vae_config.spatial_compression();
  o.check_layers(c.num_layers);
  // CogVideoX 1.5's rotary table ends at the trained size; learned positions exist for that size alone.
  const bool bounded = c.patch_size_t.has_value();
  check_size("width", o.width, pixels * c.patch_size, bounded ? c.sample_width * pixels : 0);
  check_size("height", o.height, pixels * c.patch_size, bounded ? c.sample_height * pixels : 0);
  if (c.learned_positions && (o.width != c.sample_width * pixels || o.height != c.sample_height * pixels))
    throw Error("width", fmt::format("{}x{} pixels: this checkpoint has learned positions and serves {}x{} alone",
                                     o.width, o.height, c.sample_width * pixels, c.sample_height * pixels));
  const auto ratio = model().vae_config.temporal_compression_ratio;
  check_frames(o.frames, 2 * ratio);
  scheduler(model(), o);

  const int64_t frames = (o.frames - 1) / ratio + 1, multiple = c.patch_size_t.value_or(1);
  padding_frames_ = (multiple - frames % multiple) % multiple;
  latent_shape_ = {1, frames + padding_frames_, c.in_channels, o.height / pixels, o.width / pixels};
  if (!o.init_latents.empty()) load_latents(o.init_latents, latent_shape_);
}

Grid Job::grid() const {
  const auto& c = model().config;
  return {c.token_frames(latent_shape_[1]), (latent_shape_[3] / c.patch_size) * (latent_shape_[4] / c.patch_size)};
}

Tensor Job::embed(const std::string& prompt, Progress& progress) const {
  const auto length = model().config.max_text_seq_length;
  const auto& where = model().text_encoder.placement();
  const auto tokens = tokenize(model().tokenizer, prompt, length, where.device);
  warn_of_cut(tokens.cut, length, progress);
  // The reference attends to the padding too.
  return (*model().text_encoder)(tokens.ids, std::nullopt, where.compute, progress)
      .to(model().transformer.placement().compute);  // [1, text_len, text_embed_dim]
}

Encodings Job::read_encodings(Progress& progress) {
  const auto prompt = embed(asked().prompt, progress);
  if (!asked().guided()) return {prompt};
  return {at::cat({embed(asked().negative_prompt.value_or(""), progress), prompt})};
}

Denoised Job::denoise(Progress& progress, const Saving& saving, const Watch& watch) {
  const auto& where = model().transformer.placement();
  const auto& transformer = *model().transformer;
  auto schedule = scheduler(model(), asked());
  auto generator = at::detail::createCPUGenerator(asked().seed);
  const auto latents = initial_latents(asked().init_latents, latent_shape_, generator,
                                       at::TensorOptions(where.compute).device(where.device));

  CogVideoXDenoiser denoiser(transformer, asked(), schedule,
                             transformer.prepare(encodings().text, latents.size(1), latents.size(3), latents.size(4)),
                             where.compute);
  Enhancer enhancer(asked().enhance, asked().steps, model().config.num_layers);
  const auto result = sample(denoiser, schedule, latents,
                             {enhancer, grid(), generator, progress, saving,
                              in_layout(watch, [this](const Tensor& x) { return shown(x); }), asked().cache});
  return {result, generator, enhancer.trace()};
}

Tensor Job::decode(const Denoised& denoised, Progress& progress) const {
  return to_pictures(decode_sample(shown(denoised.latents), progress));
}

Tensor Job::shown(const Tensor& latents) const { return latents.slice(1, padding_frames_).permute({0, 2, 1, 3, 4}); }

std::vector<int64_t> Job::sample_shape() const {
  const auto frames = latent_shape_[1] - padding_frames_;
  return {1, latent_shape_[2], std::min(frames, kSampleFrames), latent_shape_[3], latent_shape_[4]};
}

Tensor Job::decode_sample(const Tensor& latents, Progress& progress) const {
  const auto& where = model().vae.placement();
  const auto scaled = (1 / model().vae_config.scaling_factor) * latents.to(where.device, where.compute);
  return model().vae->decode(scaled, asked().tiled(), progress);
}

}  // namespace eav::cogvideox
